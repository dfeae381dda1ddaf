"""Names of operations by what they do. No torch: tracing, cost, receptive fields and couplings read the same lists."""

from __future__ import annotations


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# One value in, one value out, position by position (with broadcasting). Kind is the function's name.
ELEMENTWISE = words(
    """abs absolute acos acosh angle arccos arcsin arctan arctan2 asin asinh atan atan2 atanh bitwise_and bitwise_not
    bitwise_or bitwise_xor celu ceil clamp clamp_max clamp_min clip conj cos cosh deg2rad digamma elu eq erf erfc
    erfinv exp exp2 expm1 float_power floor fmax fmin fmod frac ge gelu gt hardshrink hardsigmoid hardswish hardtanh
    heaviside hypot i0 isfinite isinf isnan ldexp le leaky_relu lerp lgamma log log10 log1p log2 logaddexp logical_and
    logical_not logical_or logical_xor logit logsigmoid lt masked_fill maximum minimum mish mul nan_to_num ne neg
    negative positive pow prelu rad2deg reciprocal relu relu6 remainder round rrelu rsqrt rsub selu sgn sigmoid sign
    silu sin sinc sinh softplus softshrink softsign special_expit sqrt square sub tan tanh tanhshrink threshold trunc
    where xlogy add div addcmul addcdiv floor_divide polar"""
)
DROPOUT = words(
    """dropout dropout1d dropout2d dropout3d alpha_dropout feature_dropout feature_alpha_dropout bernoulli"""
)
# Activations: kinds that follow a layer and that advice and compression look for.
ACTIVATIONS = words(
    """celu elu gelu hardshrink hardsigmoid hardswish hardtanh leaky_relu logsigmoid mish prelu relu relu6 rrelu selu
    sigmoid silu softplus softshrink softsign tanh tanhshrink threshold"""
)
RESHAPES = words(
    """view reshape flatten unflatten squeeze unsqueeze view_as reshape_as ravel _unsafe_view atleast_1d
    atleast_2d"""
)
PERMUTES = words("""permute transpose t swapaxes swapdims movedim moveaxis adjoint T mT H mH numpy_T""")
ALIASES = words(
    """contiguous detach requires_grad_ data alias view_as_real view_as_complex clone real imag resolve_conj
    resolve_neg pin_memory"""
)
CASTS = words("""to float half double bfloat16 int long short char byte bool type cpu cuda cast""")
REDUCTIONS = words(
    """sum mean max min prod std var norm argmax argmin all any logsumexp median mode amax amin nansum nanmean
    count_nonzero vector_norm linalg_vector_norm std_mean var_mean aminmax quantile matrix_norm frobenius_norm"""
)
# One value depends on others along ``dim`` only.
ALONG_DIM = words("""softmax log_softmax softmin cumsum cumprod sort topk flip roll cummax cummin glu normalize""")
# Known, but what is read from where depends on values or is not local: nothing about position follows.
INDIRECT = words(
    """index index_select gather scatter scatter_add take take_along_dim masked_select nonzero grid_sampler
    grid_sample affine_grid index_add index_put index_copy index_fill masked_scatter scatter_reduce embedding
    embedding_bag one_hot bucketize searchsorted unique tril triu diagonal diag diag_embed tensordot kron outer cross
    cdist fft_fft fft_ifft fft_rfft fft_irfft fft_fft2 fft_ifft2 fft_rfft2 fft_irfft2 stft istft fold unfold im2col
    col2im meshgrid cartesian_prod linalg_inv linalg_solve cosine_similarity pairwise_distance pdist
    multinomial histc trace det fractional_max_pool2d fractional_max_pool3d"""
)
LOSSES = words(
    """cross_entropy nll_loss mse_loss l1_loss smooth_l1_loss huber_loss binary_cross_entropy kl_div
    binary_cross_entropy_with_logits cross_entropy_loss poisson_nll_loss gaussian_nll_loss hinge_embedding_loss
    margin_ranking_loss triplet_margin_loss cosine_embedding_loss multi_margin_loss soft_margin_loss ctc_loss
    multilabel_soft_margin_loss multilabel_margin_loss nll_loss_nd nll_loss2d"""
)
FACTORIES_LIKE = words(
    """zeros_like ones_like empty_like full_like rand_like randn_like randint_like new_zeros new_ones new_empty
    new_full new_tensor normal bernoulli"""
)
# Questions about a tensor that never make one: answered at once.
PLAIN = words(
    """shape dtype device ndim layout is_cuda is_meta requires_grad is_leaf grad_fn names is_sparse is_quantized grad
    is_mkldnn is_nested is_mps is_xpu is_vulkan is_ipu itemsize nbytes name output_nr retains_grad volatile
    _backward_hooks _version is_cpu"""
)
QUESTIONS = words(
    """dim size stride numel is_floating_point is_complex is_contiguous __len__ element_size storage_offset data_ptr
    get_device is_tensor is_storage nelement ndimension is_signed is_inference __hash__ __repr__ __format__ _parse_to
    _set_grad_enabled untyped_storage storage is_set_to is_same_size is_shared is_neg is_conj __dir__ dense_dim
    sparse_dim register_hook has_names result_type can_cast __bool__ __int__ __float__ __index__ item tolist numpy
    __contains__ equal allclose is_nonzero broadcast_shapes promote_types get_default_dtype
    is_grad_enabled _has_compatible_shallow_copy_type retain_grad backward _assert get_num_threads __complex__
    __dlpack__"""
)
# Questions whose answers are a tensor's values, and the calls that make tensors of values.
LEAVING = words("item tolist numpy __int__ __float__ __complex__ __dlpack__")
RETURNING = words("tensor as_tensor asarray")
