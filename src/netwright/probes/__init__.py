"""One measurement a file: what it measures, in which unit, what it costs. A probe knows no threshold.

``each`` is every layer of `NetworkFacts` that was called with a tensor as output; ``parameters`` every layer
with parameters that are trained; ``""`` the whole training. Values are of one step: of the first call of a layer, of a
part of the entries of large tensors. Every probe runs on sampled steps: all of the first 20, then pairs of consecutive
steps, as often as the budget allows.

=========================  ============================================================  ============  ===============
probe                      what                                                          unit          layers
=========================  ============================================================  ============  ===============
loss                       the loss given to ``step``, of every step; or else seen from  loss          ""
                           a loss module, of sampled steps
activation-mean            mean of a layer's output                                      value         each
activation-scale           root mean square of it                                        value         each
activation-zeros           share that is exactly zero                                    share         each
activation-non-finite      share that is NaN or infinite                                 share         each
activation-spread          deviation over the examples (a unit at a time, at the same    share of the  each
                           position), as a share of the scale; 0: it does not depend     scale
                           on the input
activation-saturated       share within 2.5 % of the range to a bound, of bounded        share         bounded ones
                           elementwise functions; of softmax the share of rows whose
                           largest value is above 0.975
dead-units                 share of units with no positive output in any sampled step    share         relu, relu6
output-gradient-scale      root mean square of the gradient of a layer's output (times   gradient      each
                           the scale of a GradScaler: compare layers, not steps)
output-gradient-zeros      share of it that is exactly zero                              share         each
output-gradient-non-finite share of it that is NaN or infinite                           share         each
gradient-norm              of the layer's parameters, as the optimiser gets it           gradient      parameters, ""
gradient-scale             root mean square of it                                        gradient      parameters
gradient-zeros             share of entries that are exactly zero                        share         parameters
gradient-non-finite        share that is NaN or infinite                                 share         parameters
gradient-missing           parameters that require a gradient and have none (``None``)   parameters    parameters
gradient-agreement         cosine with the gradient of the step before                   cosine        parameters, ""
gradient-sign-agreement    share of entries with the sign of the step before             share         parameters
gradient-unit-spread       how far the gradients of a layer's units differ: norm of      share         parameters of
                           (gradient − mean over units) ÷ norm; 0: all alike                           two or more axes
weight-norm                Euclidean norm of the layer's parameters                      weight        parameters, ""
weight-scale               root mean square of its entries                               weight        parameters
weight-mean                mean of its entries                                           weight        parameters
weight-unit-spread         as gradient-unit-spread, of the weight itself                 share         parameters of
                                                                                                       two or more axes
update-ratio               norm of the step ÷ norm of the parameters before it           share         parameters, ""
step-direction             cosine of the step with −gradient                             cosine        ""
step-sign-agreement        share of entries that moved against their gradient's sign     share         ""
predicted-change           gradient · step: the first-order change of what is minimised  loss          ""
learning-rate              of the optimiser's first group                                rate          ""
gradients-kept             share of the parameters looked at that still held a           share         ""
                           gradient when the first backward pass after an optimiser's
                           step began: 0 where gradients are cleared
gradient-growth            norm of what backward accumulated to ÷ norm of what it added  ratio         ""
loss-gradient              the gradient that arrives at a loss module's output: 1, or    ratio         ""
                           the scale of a GradScaler; negative: the loss is maximised
output-mean, output-scale  of the network's output                                       value         ""
output-minimum, -maximum   its extremes                                                  value         ""
output-spread              deviation over the examples, root mean square over units      value         ""
output-entropy             mean entropy of the predicted distribution over classes       nats          ""
output-confidence          mean of its largest probability                               probability   ""
output-classes             how many different classes are predicted in the batch         classes       ""
output-class-share         share of the batch that falls to the most frequent class      share         ""
norm-samples               values that a norm layer's batch statistics are taken over    values        batch norm
norm-mean-gap              distance of running from batch mean in batch deviations,      deviations    batch norm
                           root mean square over channels
norm-variance-gap          log of running ÷ batch variance, root mean square             log ratio     batch norm
train-eval-difference      root mean square of output in training − in evaluation mode   share         ""
                           on the same batch, ÷ deviation of the former over the batch
train-eval-loss            loss in evaluation − in training mode, the same batch         loss          ""
waiting-share              share of the step between its begin and the first forward     share         ""
step-seconds               seconds of a step that is not sampled, median of the last     seconds       ""
optimizer-steps            steps of optimisers within the step; 0: skipped by a scaler   steps         ""
training-mode              whether the network was in training mode in the forward pass  share         ""
validation-training-mode   whether it was in a pass without gradients, where one came    share         ""
                           just before the step
gradient-noise-scale       critical batch size B_simple (on a copy, on demand)           examples      ""
sharpness                  largest eigenvalue of the loss's Hessian (on demand)          1/rate        ""
smallest-curvature         smallest one                                                  1/rate        ""
condition-number           largest ÷ smallest above the noise, in absolute values        ratio         ""
rate-times-sharpness       learning rate × sharpness: 2 is the edge of stability         number        ""
=========================  ============================================================  ============  ===============

What a run cannot show (no module's forward was seen, a compiled network, …) is in ``Observations.unseen``, by the
first word of these names: ``activation``, ``gradient``, ``update``, ``loss``, ``network``, ``optimizer``, …
"""
