#compdef netwright

_netwright() {
  local line state

  _arguments -C \
    '--help[Display this message and exit.]' \
    '-h[Display this message and exit.]' \
    '--version[Display application version.]' \
    '1: :->cmds' \
    '*::arg:->args'

  case $state in
    cmds)
      local -a commands
      commands=(
        'train:Train a network on data, or as a recipe says.'
        'inspect:Show all that can be known of a network before it is trained.'
        'predict:Apply a run to pictures, tables, sounds, texts or arrays; let a language model …'
        'diagnose:Judge a run by what was seen of its training.'
        'watch:Run a script of yours under watch and say what was found.'
        'repair:Say what is wrong with a training, change its recipe, prove it, and train the r…'
        'tune:Search for a better recipe, and name a winner only if other seeds agree.'
        'compress:Make a run smaller and faster by a chain of passes, and show what each of them …'
        'ensemble:Make one run of several\: their mean probability, which is often better than the…'
        'export:Write a run'\''s network for other runtimes, run each file there, and compare it w…'
        'bench:Measure how long a run'\''s network takes in each runtime of this machine.'
        'report:Write a run'\''s report and print its path.'
        'runs:List the runs in a folder, or delete some.'
        'compare:Show what differs between recipes or runs, or train them with the same seeds an…'
        'curves:Draw how the error goes with the amount of data or the size of the network, or …'
        'explain:Work a layer out, or say what a finding or a part of the craft means.'
        'check:Check data and a recipe before anything is trained.'
        'boxes:Measure how well boxes were found\: average precision and recall.'
        'init:Write a recipe with every key, its default and its meaning.'
        'list:List networks, sources, findings, recipe keys, or the parts of the craft\: layer…'
        'env:Say what is installed here, what can be used, and why not.'
        'completion:Print the completion script of a shell.'
      )
      _describe -t commands 'command' commands
      ;;
    args)
      case $words[1] in
        train)
          case ${words[CURRENT]} in
            --loss=*)
              compset -P '--loss='
              compadd -- 'auto' 'cross-entropy' 'binary-cross-entropy' 'squared' 'absolute' 'huber' 'hinge' 'focal' 'kl' 'python'
              return
              ;;
            --optimizer=*)
              compset -P '--optimizer='
              compadd -- 'auto' 'sgd' 'momentum' 'nesterov' 'adagrad' 'adadelta' 'rmsprop' 'adam' 'adamw' 'nadam' 'radam' 'adamax' 'rprop' 'lbfgs' 'cg' 'cg-hs' 'newton-cg' 'python'
              return
              ;;
            --schedule=*)
              compset -P '--schedule='
              compadd -- 'auto' 'constant' 'step' 'exponential' 'cosine' 'one-cycle' 'plateau'
              return
              ;;
            --out=*)
              compset -P '--out='
              _files
              return
              ;;
            --fail-on=*)
              compset -P '--fail-on='
              compadd -- 'note' 'warning' 'error'
              return
              ;;
            --tensorboard=*)
              compset -P '--tensorboard='
              _files
              return
              ;;
          esac
          _arguments \
            '1:a recipe (.yaml), or data\: digits, a file or a folder. Left out\: the default re…:_files' \
            '*--task[what is predicted (auto, classification, multi-label, regression)]:task' \
            '*--target[the target column of a table, or several with commas or a *; default\: the last]:target' \
            '*--validation[a share of the training part, or a file or folder; 0\: none]:validation' \
            '*--test[a share of all examples, or a file or folder; 0\: none]:test' \
            '*--limit[at most so many training examples (stratified); 0\: all]:limit' \
            '*--channels[binary, grey, rgb, yuv, hsv, hsl, or several as rgb+hsv]:channels' \
            '*--size[of images\: 32 or 32x48 (height x width)]:size' \
            '*--network[a network by name, file.py\:Name or package.module\:Name]:network' \
            "*--loss[what is made small (auto, cross-entropy, binary-cross-entropy, squared, absolut…]:loss:(auto cross-entropy binary-cross-entropy squared absolute huber hinge focal kl python)" \
            '*--epochs[passes over the training part]:epochs' \
            '*--batch-size[examples a step (times accumulate)]:batch-size' \
            "*--optimizer[how a step follows the gradient (auto, sgd, momentum, nesterov, adagrad, adadel…]:optimizer:(auto sgd momentum nesterov adagrad adadelta rmsprop adam adamw nadam radam adamax rprop lbfgs cg cg-hs newton-cg python)" \
            '*--lr[the highest learning rate; range-test\: measured at the start (auto, range-test)]:lr' \
            "*--schedule[how the learning rate changes (auto, constant, step, exponential, cosine, one-c…]:schedule:(auto constant step exponential cosine one-cycle plateau)" \
            '*--patience[epochs without a better validation before stopping; 0\: never]:patience' \
            '*--precision[number format of forward and backward; fp16 needs a GPU (fp32, bf16, fp16)]:precision' \
            '*--device[cpu, cuda, cuda\:1, mps; auto\: a GPU where there is one]:device' \
            '*--threads[of the processor; 0\: as many as PyTorch takes]:threads' \
            '*--seed[of weights, order, augmentation and dropout]:seed' \
            '*--name[of the run; default\: the source'\''s]:name' \
            '*--set[set any recipe key; may be repeated. netwright list keys shows all]:set' \
            '*--from[begin with the weights of a run or a file (.safetensors, .pt)]:from' \
            '*--resume[go on with an interrupted run to the same bits; last is the newest]:resume' \
            '*--out[the folder of runs; runs if left out]:out:_files' \
            '--trust[load a network'\''s Python file although it changed or is another user'\''s]' \
            "*--fail-on[exit with 3 if a finding is as severe as this\: note, warning or error]:fail-on:(note warning error)" \
            '--print-recipe[read the data, print the recipe with every choice made, and stop]' \
            '--json[print one JSON document on stdout; all else goes to stderr]' \
            '--quiet[no progress; print the run'\''s directory alone]' \
            '*--tensorboard[also write TensorBoard events there]:tensorboard:_files' \
            '--help[Display this message and exit.]' \
            '-h[Display this message and exit.]' \
            '--version[Display application version.]'

          ;;
        inspect)
          case ${words[CURRENT]} in
            --examples=*)
              compset -P '--examples='
              _files
              return
              ;;
            --html=*)
              compset -P '--html='
              _files
              return
              ;;
            --out=*)
              compset -P '--out='
              _files
              return
              ;;
          esac
          _arguments \
            '1:a network'\''s name, file.py\:Name, a run, or an .onnx file' \
            '2:with --diff\: the network to set beside it' \
            '*--input[shape of one input without the batch\: 3x224x224, ids=16\:int64; once for each in…]:input' \
            '*--set[an argument of the network, such as width=0.5; may be repeated]:set' \
            '*--outputs[classes of a network by name]:outputs' \
            '*--batch[examples at a time; 1 if left out]:batch' \
            '--training[follow the network as it is trained]' \
            '*--optimizer[add the memory of a training step with it (adam, sgd, …)]:optimizer' \
            '*--object-size[pixels of what must be seen as a whole; the input'\''s size if left out]:object-size' \
            '*--layers[no network but a text\: \"conv 11 s4 x96, pool 3 s2, …\"; --input is its size]:layers' \
            '--caffe[with --layers\: pooling rounds up as Caffe does]' \
            '*--explain[work out one layer\: formulas with its numbers put in]:explain' \
            '--diff[what differs between two networks]' \
            '--weights[norms, spectra, ranks and first filters of the weights]' \
            '--activations[what each layer makes of an example, as pictures (--html)]' \
            '--effective-field[how far the last map really looks, by gradients; of another one with --layer]' \
            '*--layer[the layer of --effective-field]:layer' \
            '--equivariance[how far shifts of the input are followed, layer by layer]' \
            '*--examples[files to look with; a run'\''s validation part if left out, noise without a run]:examples:_files' \
            '--all[every operation, reshapes and copies too]' \
            '*--depth[sum up modules so many levels down]:depth' \
            '*--html[write a page with the drawing]:html:_files' \
            '--markdown[print Markdown]' \
            '--csv[print CSV]' \
            '--json[print one JSON document on stdout; all else goes to stderr]' \
            '*--max-params[exit with 3 above so many parameters (5M)]:max-params' \
            '*--max-macs[exit with 3 above so many MACs (1.5G)]:max-macs' \
            '*--max-memory[exit with 3 above so many bytes of weights and activations (20MB)]:max-memory' \
            '--trust[load a network'\''s Python file although it changed or is another user'\''s]' \
            '*--out[the folder of runs; runs if left out]:out:_files' \
            '--help[Display this message and exit.]' \
            '-h[Display this message and exit.]' \
            '--version[Display application version.]'

          ;;
        predict)
          case ${words[CURRENT]} in
            --out=*)
              compset -P '--out='
              _files
              return
              ;;
          esac
          _arguments \
            '1:a run\: its directory, its name, or last' \
            '*:pictures, WAV files, tables, texts, .npy arrays or folders of them; - reads sta…:_files' \
            '*--top[so many of the most probable classes]:top' \
            '--csv[print CSV\: file,label,probability]' \
            '--json[print one JSON document on stdout; all else goes to stderr]' \
            '*--passes[predict so often with dropout on; the mean, and how far it spreads]:passes' \
            '*--sample[go on with a text\: so many characters or words]:sample' \
            '*--prompt[what --sample goes on from]:prompt' \
            '*--temperature[of --sample\: 0 takes the most likely, 1 as learned, above dares more]:temperature' \
            '*--seed[of --sample\: the same text again]:seed' \
            '--skip-broken[leave unreadable files out, name them on stderr, and exit with 0]' \
            '--trust[load a network'\''s Python file although it changed or is another user'\''s]' \
            '*--out[the folder of runs; runs if left out]:out:_files' \
            '--help[Display this message and exit.]' \
            '-h[Display this message and exit.]' \
            '--version[Display application version.]'

          ;;
        diagnose)
          case ${words[CURRENT]} in
            --fail-on=*)
              compset -P '--fail-on='
              compadd -- 'note' 'warning' 'error'
              return
              ;;
            --out=*)
              compset -P '--out='
              _files
              return
              ;;
          esac
          _arguments \
            '1:a run\: its directory, its name, or last' \
            "*--fail-on[exit with 3 if a finding is as severe as this\: note, warning or error]:fail-on:(note warning error)" \
            '--json[print one JSON document on stdout; all else goes to stderr]' \
            '*--out[the folder of runs; runs if left out]:out:_files' \
            '--help[Display this message and exit.]' \
            '-h[Display this message and exit.]' \
            '--version[Display application version.]'

          ;;
        watch)
          case ${words[CURRENT]} in
            --fail-on=*)
              compset -P '--fail-on='
              compadd -- 'note' 'warning' 'error'
              return
              ;;
          esac
          _arguments \
            '1:a Python file that trains with PyTorch' \
            '*:everything after the file is passed on to it' \
            '*--budget[the share of the step time that looking may take; 0.03]:budget' \
            "*--fail-on[exit with 3 if a finding is as severe as this\: note, warning or error]:fail-on:(note warning error)" \
            '--json[print one JSON document on stdout; all else goes to stderr]' \
            '--help[Display this message and exit.]' \
            '-h[Display this message and exit.]' \
            '--version[Display application version.]'

          ;;
        repair)
          case ${words[CURRENT]} in
            --out=*)
              compset -P '--out='
              _files
              return
              ;;
          esac
          _arguments \
            '1:a recipe (.yaml) or a run' \
            '*--seconds[of computing that diagnosis and remedies may take; 60]:seconds' \
            '--trust[load a network'\''s Python file although it changed or is another user'\''s]' \
            '--json[print one JSON document on stdout; all else goes to stderr]' \
            '*--out[the folder of runs; runs if left out]:out:_files' \
            '--help[Display this message and exit.]' \
            '-h[Display this message and exit.]' \
            '--version[Display application version.]'

          ;;
        tune)
          case ${words[CURRENT]} in
            --loss=*)
              compset -P '--loss='
              compadd -- 'auto' 'cross-entropy' 'binary-cross-entropy' 'squared' 'absolute' 'huber' 'hinge' 'focal' 'kl' 'python'
              return
              ;;
            --optimizer=*)
              compset -P '--optimizer='
              compadd -- 'auto' 'sgd' 'momentum' 'nesterov' 'adagrad' 'adadelta' 'rmsprop' 'adam' 'adamw' 'nadam' 'radam' 'adamax' 'rprop' 'lbfgs' 'cg' 'cg-hs' 'newton-cg' 'python'
              return
              ;;
            --schedule=*)
              compset -P '--schedule='
              compadd -- 'auto' 'constant' 'step' 'exponential' 'cosine' 'one-cycle' 'plateau'
              return
              ;;
            --sampler=*)
              compset -P '--sampler='
              compadd -- 'tpe' 'staged' 'random' 'grid' 'gp'
              return
              ;;
            --out=*)
              compset -P '--out='
              _files
              return
              ;;
          esac
          _arguments \
            '1:a recipe (.yaml), data (digits, a file, a folder) or a run. Left out\: the defau…:_files' \
            '*--task[what is predicted (auto, classification, multi-label, regression)]:task' \
            '*--target[the target column of a table, or several with commas or a *; default\: the last]:target' \
            '*--validation[a share of the training part, or a file or folder; 0\: none]:validation' \
            '*--test[a share of all examples, or a file or folder; 0\: none]:test' \
            '*--limit[at most so many training examples (stratified); 0\: all]:limit' \
            '*--channels[binary, grey, rgb, yuv, hsv, hsl, or several as rgb+hsv]:channels' \
            '*--size[of images\: 32 or 32x48 (height x width)]:size' \
            '*--network[a network by name, file.py\:Name or package.module\:Name]:network' \
            "*--loss[what is made small (auto, cross-entropy, binary-cross-entropy, squared, absolut…]:loss:(auto cross-entropy binary-cross-entropy squared absolute huber hinge focal kl python)" \
            '*--epochs[passes over the training part]:epochs' \
            '*--batch-size[examples a step (times accumulate)]:batch-size' \
            "*--optimizer[how a step follows the gradient (auto, sgd, momentum, nesterov, adagrad, adadel…]:optimizer:(auto sgd momentum nesterov adagrad adadelta rmsprop adam adamw nadam radam adamax rprop lbfgs cg cg-hs newton-cg python)" \
            '*--lr[the highest learning rate; range-test\: measured at the start (auto, range-test)]:lr' \
            "*--schedule[how the learning rate changes (auto, constant, step, exponential, cosine, one-c…]:schedule:(auto constant step exponential cosine one-cycle plateau)" \
            '*--patience[epochs without a better validation before stopping; 0\: never]:patience' \
            '*--precision[number format of forward and backward; fp16 needs a GPU (fp32, bf16, fp16)]:precision' \
            '*--device[cpu, cuda, cuda\:1, mps; auto\: a GPU where there is one]:device' \
            '*--threads[of the processor; 0\: as many as PyTorch takes]:threads' \
            '*--seed[of weights, order, augmentation and dropout]:seed' \
            '*--name[of the run; default\: the source'\''s]:name' \
            '*--set[set any recipe key; may be repeated. netwright list keys shows all]:set' \
            '*--space[what is searched\: LOW..HIGH, LOW..HIGH@log, A,B,C or a constant, several after …]:space' \
            '*--trials[how many recipes are tried; 40 if neither this nor --time is given]:trials' \
            '*--time[time of training in each worker after which no more are tried]:time' \
            '*--workers[processes that train at the same time; 1]:workers' \
            "*--sampler[how recipes are chosen\: tpe (the default), staged, random, grid or gp]:sampler:(tpe staged random grid gp)" \
            '--full[train every trial to its end; without it poor ones are stopped early]' \
            '*--seeds[how often the best few are repeated; 3. 0\: not at all]:seeds' \
            '*--best[how many those are; 3]:best' \
            '*--study[name of the study; one of the same recipe and space is joined]:study' \
            '*--resume[go on with a study; last is the newest. --trials and --time may be larger now]:resume' \
            '*--show[only show a study and write its report]:show' \
            '*--storage[a database that several machines share]:storage' \
            '*--out[the folder of runs; runs if left out]:out:_files' \
            '--trust[load a network'\''s Python file although it changed or is another user'\''s]' \
            '--json[print one JSON document on stdout; all else goes to stderr]' \
            '--quiet[no progress]' \
            '--help[Display this message and exit.]' \
            '-h[Display this message and exit.]' \
            '--version[Display application version.]'

          ;;
        compress)
          case ${words[CURRENT]} in
            --out=*)
              compset -P '--out='
              _files
              return
              ;;
          esac
          _arguments \
            '1:a run' \
            '*:passes, NAME=VALUE\:OPTION=VALUE,OPTION=VALUE; none\: to the budgets' \
            '*--max-size[largest file of the weights]:max-size' \
            '*--max-latency[longest median time of one example, and the runtime]:max-latency' \
            '*--max-drop[most points of validation accuracy that may go]:max-drop' \
            '--keep-if-faster[take back a pass that changed the network but not its speed]' \
            '*--heal[epochs of healing where only budgets are given]:heal' \
            '*--runtime[of latencies\: torch, onnxruntime, ncnn, litert or torchscript; torch]:runtime' \
            '*--threads[of latencies; 1]:threads' \
            '*--batch[examples at a time of latencies; 1]:batch' \
            '--sensitivity[only show what each layer bears to lose; nothing is written]' \
            '--trust[load a network'\''s Python file although it changed or is another user'\''s]' \
            '--json[print one JSON document on stdout; all else goes to stderr]' \
            '*--out[the folder of runs; runs if left out]:out:_files' \
            '--help[Display this message and exit.]' \
            '-h[Display this message and exit.]' \
            '--version[Display application version.]'

          ;;
        ensemble)
          case ${words[CURRENT]} in
            --loss=*)
              compset -P '--loss='
              compadd -- 'auto' 'cross-entropy' 'binary-cross-entropy' 'squared' 'absolute' 'huber' 'hinge' 'focal' 'kl' 'python'
              return
              ;;
            --optimizer=*)
              compset -P '--optimizer='
              compadd -- 'auto' 'sgd' 'momentum' 'nesterov' 'adagrad' 'adadelta' 'rmsprop' 'adam' 'adamw' 'nadam' 'radam' 'adamax' 'rprop' 'lbfgs' 'cg' 'cg-hs' 'newton-cg' 'python'
              return
              ;;
            --schedule=*)
              compset -P '--schedule='
              compadd -- 'auto' 'constant' 'step' 'exponential' 'cosine' 'one-cycle' 'plateau'
              return
              ;;
            --out=*)
              compset -P '--out='
              _files
              return
              ;;
          esac
          _arguments \
            '*:two runs or more; one with --snapshots; a recipe (.yaml) or data with --members' \
            '*--weights[how much each member counts, joined by commas; all alike if left out]:weights' \
            '*--snapshots[the last so many snapshots of one run whose recipe kept some (train.snapshots)]:snapshots' \
            '--leaky[take members that have learned examples which judge the ensemble, and say so]' \
            '*--members[train so many, over seeds; 5]:members' \
            '--bagging[each on a bootstrap sample of the training part]' \
            '--boosting[one after another, each on what those before had wrong (SAMME)]' \
            '*--task[what is predicted (auto, classification, multi-label, regression)]:task' \
            '*--target[the target column of a table, or several with commas or a *; default\: the last]:target' \
            '*--validation[a share of the training part, or a file or folder; 0\: none]:validation' \
            '*--test[a share of all examples, or a file or folder; 0\: none]:test' \
            '*--limit[at most so many training examples (stratified); 0\: all]:limit' \
            '*--channels[binary, grey, rgb, yuv, hsv, hsl, or several as rgb+hsv]:channels' \
            '*--size[of images\: 32 or 32x48 (height x width)]:size' \
            '*--network[a network by name, file.py\:Name or package.module\:Name]:network' \
            "*--loss[what is made small (auto, cross-entropy, binary-cross-entropy, squared, absolut…]:loss:(auto cross-entropy binary-cross-entropy squared absolute huber hinge focal kl python)" \
            '*--epochs[passes over the training part]:epochs' \
            '*--batch-size[examples a step (times accumulate)]:batch-size' \
            "*--optimizer[how a step follows the gradient (auto, sgd, momentum, nesterov, adagrad, adadel…]:optimizer:(auto sgd momentum nesterov adagrad adadelta rmsprop adam adamw nadam radam adamax rprop lbfgs cg cg-hs newton-cg python)" \
            '*--lr[the highest learning rate; range-test\: measured at the start (auto, range-test)]:lr' \
            "*--schedule[how the learning rate changes (auto, constant, step, exponential, cosine, one-c…]:schedule:(auto constant step exponential cosine one-cycle plateau)" \
            '*--patience[epochs without a better validation before stopping; 0\: never]:patience' \
            '*--precision[number format of forward and backward; fp16 needs a GPU (fp32, bf16, fp16)]:precision' \
            '*--device[cpu, cuda, cuda\:1, mps; auto\: a GPU where there is one]:device' \
            '*--threads[of the processor; 0\: as many as PyTorch takes]:threads' \
            '*--seed[of weights, order, augmentation and dropout]:seed' \
            '*--name[of the run; default\: the source'\''s]:name' \
            '*--set[set any recipe key; may be repeated. netwright list keys shows all]:set' \
            '--trust[load a network'\''s Python file although it changed or is another user'\''s]' \
            '--json[print one JSON document on stdout; all else goes to stderr]' \
            '--quiet[no progress; print the run'\''s directory alone]' \
            '*--out[the folder of runs; runs if left out]:out:_files' \
            '--help[Display this message and exit.]' \
            '-h[Display this message and exit.]' \
            '--version[Display application version.]'

          ;;
        export)
          case ${words[CURRENT]} in
            --inputs=*)
              compset -P '--inputs='
              _files
              return
              ;;
            --to=*)
              compset -P '--to='
              _files
              return
              ;;
            --out=*)
              compset -P '--out='
              _files
              return
              ;;
          esac
          _arguments \
            '1:a run\: its directory, its name, or last' \
            '*:onnx, onnx-int8, ncnn, ncnn-fp16, litert, litert-int8, mace, torchscript' \
            '--inside[preprocessing and probabilities in the file; pictures are uint8 NHWC]' \
            '*--inputs[compare on these instead of the run'\''s validation data]:inputs:_files' \
            '*--examples[so many real inputs are compared at most; 1000]:examples' \
            '*--seconds[of comparing, at most; 30]:seconds' \
            '*--max-drop[points of right labels that int8 or fp16 may lose; 1]:max-drop' \
            '*--to[the folder for the files; RUN/exports if left out]:to:_files' \
            '--trust[load a network'\''s Python file although it changed or is another user'\''s]' \
            '--json[print one JSON document on stdout; all else goes to stderr]' \
            '*--out[the folder of runs; runs if left out]:out:_files' \
            '--help[Display this message and exit.]' \
            '-h[Display this message and exit.]' \
            '--version[Display application version.]'

          ;;
        bench)
          case ${words[CURRENT]} in
            --inputs=*)
              compset -P '--inputs='
              _files
              return
              ;;
            --out=*)
              compset -P '--out='
              _files
              return
              ;;
          esac
          _arguments \
            '1:a run\: its directory, its name, or last' \
            '*--runtimes[all, or names joined by commas\: onnx, onnx-int8, ncnn, litert, torchscript]:runtimes' \
            '*--runtime[all, or names joined by commas\: onnx, onnx-int8, ncnn, litert, torchscript]:runtime' \
            '*--threads[of each runtime, kept on as many processors; 1]:threads' \
            '*--batches[sizes joined by commas; 1,8,32]:batches' \
            '*--batch[sizes joined by commas; 1,8,32]:batch' \
            '*--seconds[for all runtimes at one batch size; 5]:seconds' \
            '*--inputs[run these instead of the run'\''s validation data]:inputs:_files' \
            '--operators[milliseconds of each operator, where the runtime tells them]' \
            '--trust[load a network'\''s Python file although it changed or is another user'\''s]' \
            '--json[print one JSON document on stdout; all else goes to stderr]' \
            '*--out[the folder of runs; runs if left out]:out:_files' \
            '--help[Display this message and exit.]' \
            '-h[Display this message and exit.]' \
            '--version[Display application version.]'

          ;;
        report)
          case ${words[CURRENT]} in
            --out=*)
              compset -P '--out='
              _files
              return
              ;;
          esac
          _arguments \
            '1:a run\: its directory, its name, or last' \
            '--open[open it in the browser]' \
            '--json[print one JSON document on stdout; all else goes to stderr]' \
            '*--out[the folder of runs; runs if left out]:out:_files' \
            '--help[Display this message and exit.]' \
            '-h[Display this message and exit.]' \
            '--version[Display application version.]'

          ;;
        runs)
          case ${words[CURRENT]} in
            --state=*)
              compset -P '--state='
              compadd -- 'running' 'finished' 'interrupted' 'empty' 'damaged'
              return
              ;;
            --sort=*)
              compset -P '--sort='
              compadd -- 'name' 'started' 'accuracy' 'loss' 'epochs' 'time' 'size'
              return
              ;;
            --out=*)
              compset -P '--out='
              _files
              return
              ;;
          esac
          _arguments \
            "*--state[only runs in this state]:state:(running finished interrupted empty damaged)" \
            '*--source[only runs whose data'\''s name contains this]:source' \
            '*--network[only runs whose network'\''s name contains this]:network' \
            "*--sort[the order; the best, the longest or the newest come last]:sort:(name started accuracy loss epochs time size)" \
            '*--delete[delete these runs]:delete' \
            '--yes[delete without asking]' \
            '--json[print one JSON document on stdout; all else goes to stderr]' \
            '*--out[the folder of runs; runs if left out]:out:_files' \
            '--help[Display this message and exit.]' \
            '-h[Display this message and exit.]' \
            '--version[Display application version.]'

          ;;
        compare)
          case ${words[CURRENT]} in
            --loss=*)
              compset -P '--loss='
              compadd -- 'auto' 'cross-entropy' 'binary-cross-entropy' 'squared' 'absolute' 'huber' 'hinge' 'focal' 'kl' 'python'
              return
              ;;
            --optimizer=*)
              compset -P '--optimizer='
              compadd -- 'auto' 'sgd' 'momentum' 'nesterov' 'adagrad' 'adadelta' 'rmsprop' 'adam' 'adamw' 'nadam' 'radam' 'adamax' 'rprop' 'lbfgs' 'cg' 'cg-hs' 'newton-cg' 'python'
              return
              ;;
            --schedule=*)
              compset -P '--schedule='
              compadd -- 'auto' 'constant' 'step' 'exponential' 'cosine' 'one-cycle' 'plateau'
              return
              ;;
            --page=*)
              compset -P '--page='
              _files
              return
              ;;
            --out=*)
              compset -P '--out='
              _files
              return
              ;;
          esac
          _arguments \
            '1:a recipe (.yaml) or a run; with --seeds also data, as digits' \
            '2:another one; with --seeds also changes of the first, as train.lr=0.01' \
            '*:more of them' \
            '*--seeds[train all with so many seeds and judge the differences]:seeds' \
            '*--task[what is predicted (auto, classification, multi-label, regression)]:task' \
            '*--target[the target column of a table, or several with commas or a *; default\: the last]:target' \
            '*--validation[a share of the training part, or a file or folder; 0\: none]:validation' \
            '*--test[a share of all examples, or a file or folder; 0\: none]:test' \
            '*--limit[at most so many training examples (stratified); 0\: all]:limit' \
            '*--channels[binary, grey, rgb, yuv, hsv, hsl, or several as rgb+hsv]:channels' \
            '*--size[of images\: 32 or 32x48 (height x width)]:size' \
            '*--network[a network by name, file.py\:Name or package.module\:Name]:network' \
            "*--loss[what is made small (auto, cross-entropy, binary-cross-entropy, squared, absolut…]:loss:(auto cross-entropy binary-cross-entropy squared absolute huber hinge focal kl python)" \
            '*--epochs[passes over the training part]:epochs' \
            '*--batch-size[examples a step (times accumulate)]:batch-size' \
            "*--optimizer[how a step follows the gradient (auto, sgd, momentum, nesterov, adagrad, adadel…]:optimizer:(auto sgd momentum nesterov adagrad adadelta rmsprop adam adamw nadam radam adamax rprop lbfgs cg cg-hs newton-cg python)" \
            '*--lr[the highest learning rate; range-test\: measured at the start (auto, range-test)]:lr' \
            "*--schedule[how the learning rate changes (auto, constant, step, exponential, cosine, one-c…]:schedule:(auto constant step exponential cosine one-cycle plateau)" \
            '*--patience[epochs without a better validation before stopping; 0\: never]:patience' \
            '*--precision[number format of forward and backward; fp16 needs a GPU (fp32, bf16, fp16)]:precision' \
            '*--device[cpu, cuda, cuda\:1, mps; auto\: a GPU where there is one]:device' \
            '*--threads[of the processor; 0\: as many as PyTorch takes]:threads' \
            '*--seed[of weights, order, augmentation and dropout]:seed' \
            '*--name[of the run; default\: the source'\''s]:name' \
            '*--set[set any recipe key; may be repeated. netwright list keys shows all]:set' \
            '*--metric[what decides\: accuracy, validation.loss, …; the most telling one of the test pa…]:metric' \
            '--baseline[compare each with the first alone; needs fewer seeds]' \
            '*--smallest[the difference that would matter, in the metric'\''s unit\: 0.01 is a point]:smallest' \
            '--splits[hold out other examples with each seed, the same for all]' \
            '*--page[where the page goes; beside the runs if left out]:page:_files' \
            '--trust[load a network'\''s Python file although it changed or is another user'\''s]' \
            '--json[print one JSON document on stdout; all else goes to stderr]' \
            '*--out[the folder of runs; runs if left out]:out:_files' \
            '--help[Display this message and exit.]' \
            '-h[Display this message and exit.]' \
            '--version[Display application version.]'

          ;;
        curves)
          case ${words[CURRENT]} in
            --over=*)
              compset -P '--over='
              compadd -- 'data' 'capacity' 'width' 'depth' 'batch-size'
              return
              ;;
            --loss=*)
              compset -P '--loss='
              compadd -- 'auto' 'cross-entropy' 'binary-cross-entropy' 'squared' 'absolute' 'huber' 'hinge' 'focal' 'kl' 'python'
              return
              ;;
            --optimizer=*)
              compset -P '--optimizer='
              compadd -- 'auto' 'sgd' 'momentum' 'nesterov' 'adagrad' 'adadelta' 'rmsprop' 'adam' 'adamw' 'nadam' 'radam' 'adamax' 'rprop' 'lbfgs' 'cg' 'cg-hs' 'newton-cg' 'python'
              return
              ;;
            --schedule=*)
              compset -P '--schedule='
              compadd -- 'auto' 'constant' 'step' 'exponential' 'cosine' 'one-cycle' 'plateau'
              return
              ;;
            --rates=*)
              compset -P '--rates='
              compadd -- 'auto' 'linear' 'sqrt' 'range-test'
              return
              ;;
            --page=*)
              compset -P '--page='
              _files
              return
              ;;
            --out=*)
              compset -P '--out='
              _files
              return
              ;;
          esac
          _arguments \
            '1:data (digits, a file, a folder), a recipe (.yaml) or a run' \
            "*--over[what grows\: data (the default), width, depth, capacity (the first of these two …]:over:(data capacity width depth batch-size)" \
            '*--task[what is predicted (auto, classification, multi-label, regression)]:task' \
            '*--target[the target column of a table, or several with commas or a *; default\: the last]:target' \
            '*--validation[a share of the training part, or a file or folder; 0\: none]:validation' \
            '*--test[a share of all examples, or a file or folder; 0\: none]:test' \
            '*--limit[at most so many training examples (stratified); 0\: all]:limit' \
            '*--channels[binary, grey, rgb, yuv, hsv, hsl, or several as rgb+hsv]:channels' \
            '*--size[of images\: 32 or 32x48 (height x width)]:size' \
            '*--network[a network by name, file.py\:Name or package.module\:Name]:network' \
            "*--loss[what is made small (auto, cross-entropy, binary-cross-entropy, squared, absolut…]:loss:(auto cross-entropy binary-cross-entropy squared absolute huber hinge focal kl python)" \
            '*--epochs[passes over the training part]:epochs' \
            '*--batch-size[examples a step (times accumulate)]:batch-size' \
            "*--optimizer[how a step follows the gradient (auto, sgd, momentum, nesterov, adagrad, adadel…]:optimizer:(auto sgd momentum nesterov adagrad adadelta rmsprop adam adamw nadam radam adamax rprop lbfgs cg cg-hs newton-cg python)" \
            '*--lr[the highest learning rate; range-test\: measured at the start (auto, range-test)]:lr' \
            "*--schedule[how the learning rate changes (auto, constant, step, exponential, cosine, one-c…]:schedule:(auto constant step exponential cosine one-cycle plateau)" \
            '*--patience[epochs without a better validation before stopping; 0\: never]:patience' \
            '*--precision[number format of forward and backward; fp16 needs a GPU (fp32, bf16, fp16)]:precision' \
            '*--device[cpu, cuda, cuda\:1, mps; auto\: a GPU where there is one]:device' \
            '*--threads[of the processor; 0\: as many as PyTorch takes]:threads' \
            '*--seed[of weights, order, augmentation and dropout]:seed' \
            '*--name[of the run; default\: the source'\''s]:name' \
            '*--set[set any recipe key; may be repeated. netwright list keys shows all]:set' \
            '*--sizes[the amounts, widths, depths or batch sizes, with commas; chosen if left out]:sizes' \
            '*--seeds[trainings of each size; 3, over capacity 5]:seeds' \
            '*--time[no training begins that would end later than this]:time' \
            '--networks-only[no classical methods beside it]' \
            '*--reach[the error that is to be reached\: 0.05; 1.5 times what the recipe'\''s own batch si…]:reach' \
            '*--within[time that a training has for it; 20s]:within' \
            "*--rates[how the learning rate follows the batch size\: auto (sqrt for Adam and its kin, …]:rates:(auto linear sqrt range-test)" \
            '*--page[where the page goes; beside the runs if left out]:page:_files' \
            '--trust[load a network'\''s Python file although it changed or is another user'\''s]' \
            '--json[print one JSON document on stdout; all else goes to stderr]' \
            '--quiet[no progress]' \
            '*--out[the folder of runs; runs if left out]:out:_files' \
            '--help[Display this message and exit.]' \
            '-h[Display this message and exit.]' \
            '--version[Display application version.]'

          ;;
        explain)
          case ${words[CURRENT]} in
            --lang=*)
              compset -P '--lang='
              compadd -- 'en' 'zh'
              return
              ;;
          esac
          _arguments \
            '1:a layer, such as convolution, a finding'\''s code, such as vanishing-gradient, or …' \
            "*--lang[language of a finding's text\: en or zh; en]:lang:(en zh)" \
            '--json[print one JSON document on stdout; all else goes to stderr]' \
            '--help[Display this message and exit.]' \
            '-h[Display this message and exit.]' \
            '--version[Display application version.]'

          ;;
        check)
          case ${words[CURRENT]} in
            --fail-on=*)
              compset -P '--fail-on='
              compadd -- 'note' 'warning' 'error'
              return
              ;;
            --out=*)
              compset -P '--out='
              _files
              return
              ;;
          esac
          _arguments \
            '1:data, or a recipe (.yaml); for --gradients a network by name, file.py\:Name, or …' \
            '*--set[set any recipe key; may be repeated. netwright list keys shows all]:set' \
            '--baseline[also train a linear model, nearest neighbours and boosted trees\: what a network…]' \
            '--locality[also permute the positions of the features\: where nothing is lost, a convolutio…]' \
            '--batch-size[recommend one, from the gradient'\''s noise and memory, checked by three short tra…]' \
            "*--fail-on[exit with 3 if a finding is as severe as this\: note, warning or error]:fail-on:(note warning error)" \
            '--gradients[compare autograd with finite differences in double precision]' \
            '*--input[shape of one input without the batch\: 3x224x224, ids=16\:int64; once for each in…]:input' \
            '*--entries[so many entries of each tensor, drawn at random; 20]:entries' \
            '--eval[in evaluation mode instead of training]' \
            '*--seed[of the inputs and of the entries that are drawn; 0]:seed' \
            '--labels[list labels that contradict what is predicted out of sample, as a page too]' \
            '*--folds[train so many networks, each on the others'\'' parts; 5]:folds' \
            '--quick[train nothing\: a run judges the examples that it held out]' \
            '--csv[print the list as CSV, as data.leave_out reads it]' \
            '--trust[load a network'\''s Python file although it changed or is another user'\''s]' \
            '--json[print one JSON document on stdout; all else goes to stderr]' \
            '*--out[the folder of runs; runs if left out]:out:_files' \
            '--help[Display this message and exit.]' \
            '-h[Display this message and exit.]' \
            '--version[Display application version.]'

          ;;
        boxes)
          case ${words[CURRENT]} in
            --method=*)
              compset -P '--method='
              compadd -- 'coco' 'voc' 'voc2007'
              return
              ;;
            --format=*)
              compset -P '--format='
              compadd -- 'xyxy' 'xywh' 'cxcywh'
              return
              ;;
            --classes=*)
              compset -P '--classes='
              _files
              return
              ;;
          esac
          _arguments \
            '1:COCO'\''s instances.json, or a folder of .xml (Pascal VOC) or .txt files:_files' \
            '2:COCO'\''s results.json, or a folder of .txt files, one an image:_files' \
            "*--method[whose figures\: coco, voc (2010 on) or voc2007]:method:(coco voc voc2007)" \
            '*--iou[the overlap of a hit, for voc; 0.5 if left out]:iou' \
            '--edges[for voc\: corners are edges, not the first and last pixel]' \
            "*--format[the numbers in .txt files\: xywh (if left out), xyxy or cxcywh]:format:(xyxy xywh cxcywh)" \
            '*--classes[a file with a class a line, where .txt files have numbers from 0]:classes:_files' \
            '--per-class[the average precision of each class too]' \
            '--json[print one JSON document on stdout; all else goes to stderr]' \
            '--help[Display this message and exit.]' \
            '-h[Display this message and exit.]' \
            '--version[Display application version.]'

          ;;
        init)
          _arguments \
            '1:where to write it; recipe.yaml if left out:_files' \
            '--force[write over a file that exists]' \
            '--json[print one JSON document on stdout; all else goes to stderr]' \
            '--help[Display this message and exit.]' \
            '-h[Display this message and exit.]' \
            '--version[Display application version.]'

          ;;
        list)
          _arguments \
            "1:what to list; left out\: what can be listed:(networks layers activations norms initializers objectives optimizers schedules regularizers sources losses findings keys)" \
            '--json[print one JSON document on stdout; all else goes to stderr]' \
            '--help[Display this message and exit.]' \
            '-h[Display this message and exit.]' \
            '--version[Display application version.]'

          ;;
        env)
          _arguments \
            '--json[print one JSON document on stdout; all else goes to stderr]' \
            '--help[Display this message and exit.]' \
            '-h[Display this message and exit.]' \
            '--version[Display application version.]'

          ;;
        completion)
          _arguments \
            "1:the shell:(bash zsh fish)" \
            '--help[Display this message and exit.]' \
            '-h[Display this message and exit.]' \
            '--version[Display application version.]'

          ;;
      esac
      ;;
  esac
}

if [ "$funcstack[1]" = "_netwright" ]; then
  _netwright "$@"
else
  compdef _netwright netwright
fi
