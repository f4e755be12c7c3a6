"""Chinese for the errors of data, training and evaluation, and for why a row or a run came to nothing."""

TRAINING_ERRORS: dict[str, str] = {
    # Rows that are left out
    "{file}": "{file}",
    "{file}, row {row:,}": "{file} 第 {row:,} 条",
    "{file}, line {row:,}": "{file} 第 {row:,} 行",
    "{name}: {problem}": "{name}：{problem}",
    "{place}: {reason}": "{place}：{reason}",
    "{place}: {reason}.": "{place}：{reason}。",
    "{path}: {reason}.": "{path}：{reason}。",
    "{path}: {problem}.": "{path}：{problem}。",
    "{reason}": "{reason}",
    "{advice}": "{advice}",
    "{problems}": "{problems}",
    "{problems}.": "{problems}。",
    "the file is empty": "文件是空的",
    "a binary file": "这是二进制文件",
    "not a kind of file that is read": "不支持读取这种文件",
    "reading stopped: {reason}": "读取中断：{reason}",
    "broken table: {reason}": "表格已损坏：{reason}",
    "a Parquet file over {most:,} bytes in an archive: unpack it":
        "压缩包内的 Parquet 文件超过 {most:,} 字节，请先解压",
    "the article is only a title": "文章只有标题",
    "a line over {most:,} characters": "一行超过 {most:,} 个字符",
    "broken JSON: {reason}": "JSON 已损坏：{reason}",
    "broken JSON at line {line:,}, after record {number:,}: {reason}":
        "第 {line:,} 行的 JSON 已损坏（在第 {number:,} 条记录之后）：{reason}",
    "a JSON {kind}, not an object": "JSON 的类型是 {kind}，而不是对象",
    "{kind} data among {wanted}": "在 {wanted} 数据中出现了 {kind} 数据",
    "{kind} data among pairs": "在偏好对中出现了 {kind} 数据",
    "a pair needs two different answers": "一对数据需要两个不同的回答",
    "shorter than {count} characters": "少于 {count} 个字符",
    "the answer is marked as worse (label false), and no better one is beside it":
        "该回答被标为较差（label 为 false），却没有更好的回答与之配对",
    "no known fields among {names}": "没有可识别的字段，现有：{names}",
    "no prompt among {names}": "没有提问字段，现有：{names}",
    "the text is empty": "文本是空的",
    "the answer is empty": "回答是空的",
    "chosen and rejected are equal": "chosen 与 rejected 相同",
    "a pair without a prompt": "这一对没有提问",
    "the conversation before the pair ends with an answer": "这一对之前的对话以回答结尾",
    "an answer of the pair is empty": "这一对中有一个回答是空的",
    "the conversation is not a list": "对话不是列表",
    "turn {number} is no object": "第 {number} 轮不是对象",
    "turn {number} has the role {name}": "第 {number} 轮的角色是 {name}",
    "nobody asks in this conversation": "这段对话中没有提问",
    "nobody answers in this conversation": "这段对话中没有回答",
    "the conversation is a text that is no JSON": "对话是文本，但不是 JSON",
    # Files
    "{path} is a pointer of git-lfs, the file itself was not downloaded.":
        "{path} 只是 git-lfs 的指针，文件本身没有下载。",
    "Run `git lfs pull` in its folder.": "请在其文件夹中运行 git lfs pull。",
    "{path} is a page of the server ({start!r}), not the file.": "{path} 是服务器返回的网页（{start!r}），而不是文件。",
    "Accept the model's terms and log in there, then download it again.":
        "请在网站上登录并接受该模型的条款，再重新下载。",
    "{path} is no regular file.": "{path} 不是普通文件。",
    "Put the file itself there.": "请把文件本身放在那里。",
    "The folder {path} cannot be read: {reason}.": "无法读取文件夹 {path}：{reason}。",
    "Change its permissions, or leave it out.": "请修改其权限，或不要选它。",
    "{path} is neither a file nor a folder.": "{path} 既不是文件，也不是文件夹。",
    "{path} does not exist.": "{path} 不存在。",
    "Check the path.": "请检查路径。",
    "{name} has {size:,} bytes and unpacks to more than {limit:,}: it was refused.":
        "{name} 有 {size:,} 字节，解压后超过 {limit:,} 字节，已拒绝。",
    "Unpack it yourself if you trust it.": "如果您信任它，请自行解压。",
    "{name} has {size:,} bytes and unpacks to {unpacked:,}, more than {limit:,}: it was refused.":
        "{name} 有 {size:,} 字节，解压后有 {unpacked:,} 字节，超过 {limit:,} 字节，已拒绝。",
    "Write it again without compression if you trust it.": "如果您信任它，请不压缩地重新保存。",
    # Preparing
    "There is no file in {paths}.": "{paths} 中没有文件。",
    "Give txt, md, jsonl, json, csv or parquet files, also in .gz, .tar.gz or .zip, with known fields.":
        "请提供含可识别字段的 txt、md、jsonl、json、csv 或 parquet 文件，也可以是 .gz、.tar.gz 或 .zip。",
    "1 file": "1 个文件",
    "{count:,} files": "{count:,} 个文件",
    "{count:,} more": "另有 {count:,} 个",
    "Nothing usable was found in {files}. {problems}.": "在{files}中没有找到可用的数据。{problems}。",
    "No {wanted} document was found in {files}. {problems}.": "在{files}中没有找到 {wanted} 类的数据。{problems}。",
    "No document gave any token. {problems}.": "没有数据产生任何词元。{problems}。",
    "Choose another folder, or delete it.": "请选择其他文件夹，或删除它。",
    "Check the disk's room and the folder's permissions.": "请检查磁盘空间和文件夹权限。",
    "{file} changed while it was read.": "{file} 在读取过程中被修改。",
    "{file} changed while it was read, at {row:,}.": "{file} 在读取过程中被修改（第 {row:,} 条）。",
    "One of {count} worker processes was ended by the system, most often for lack of memory.":
        "{count} 个工作进程中有一个被系统终止，通常是因为内存不足。",
    "Close other programs, or use fewer with --workers.": "请关闭其他程序，或减少工作进程数（workers）。",
    "The tokenizer names no eos_token.": "分词器没有指定 eos_token。",
    "Add eos_token to {file}.": "请在 {file} 中加上 eos_token。",
    "A vocabulary of {size} is too small: bytes and control tokens alone take {taken}.":
        "词表大小 {size} 太小：仅字节和控制词元就占 {taken} 个。",
    "Ask for at least {least} pieces.": "请至少设为 {least}。",
    "A vocabulary of {size} could not be learnt: {reason}": "无法学出大小为 {size} 的词表：{reason}",
    "Ask for a larger one.": "请设大一些。",
    "Give more text or ask for a smaller one.": "请提供更多文本，或设小一些。",
    "{file} lacks {names}.": "{file} 缺少 {names}。",
    "Use a tokenizer trained here.": "请使用在本程序中训练的分词器。",
    "{file} cannot be read: its added token {token!r} has the id {number}.":
        "无法读取 {file}：附加词元 {token!r} 的编号是 {number}。",
    "Choose a folder that holds a whole model.": "请选择含有完整模型的文件夹。",
    # Prepared data
    "The {split} split is empty.": "{split} 部分是空的。",
    "Run `prepare` on more text.": "请用更多文本准备数据。",
    "{count:,} conversations are longer than {size} tokens": "{count:,} 段对话超过 {size} 个词元",
    "{path} is missing.": "缺少 {path}。",
    "{path} has {size:,} bytes, {expected:,} were written.": "{path} 有 {size:,} 字节，写入时是 {expected:,} 字节。",
    "Prepare the data again.": "请重新准备数据。",
    "{path} is not an {format} version {version} manifest.": "{path} 不是 {format} 第 {version} 版的清单。",
    "kind is {value}": "kind 的值是 {value}",
    "vocab_size is {value}": "vocab_size 的值是 {value}",
    "the shard name {name!r} leads out of the folder": "分片名 {name!r} 指向文件夹之外",
    "a shard has no list of files": "有一个分片没有文件列表",
    "a count is not a whole number": "有一个计数不是整数",
    "a field is missing or of the wrong type ({reason})": "有字段缺失或类型不对（{reason}）",
    "{place} holds the token id {token}, the vocabulary has {size}.":
        "{place} 含词元编号 {token}，而词表大小是 {size}。",
    "The file changed on disk: prepare the data again.": "磁盘上的文件已改变，请重新准备数据。",
    "{name} ends at {found}, not at {count}.": "{name} 结束于 {found}，而不是 {count}。",
    "Make the data set with `prepare`.": "请先准备数据。",
    "{name} has the hash {found}…, {written}… was written.": "{name} 的哈希值是 {found}…，写入时是 {written}…。",
    "{count:,} prompts have more than {most} tokens or no answer": "{count:,} 个提问超过 {most} 个词元或没有回答",
    "None of the {count:,} prompts of the {split} split has at most {most} tokens.":
        "{split} 部分的 {count:,} 个提问都超过 {most} 个词元。",
    "Raise max_seq_len, or lower max_new_tokens.": "请提高 max_seq_len，或降低 max_new_tokens。",
    "No pair of the {split} split can be used: {problems}.": "{split} 部分没有可用的偏好对：{problems}。",
    "Raise max_seq_len.": "请提高 max_seq_len。",
    "{count:,} pairs lost the beginning of their prompt to fit {size} tokens":
        "{count:,} 对数据的提问被截去开头，以放入 {size} 个词元",
    "{count:,} pairs have an answer of {size} tokens or more and are left out":
        "{count:,} 对数据的回答不少于 {size} 个词元，未被使用",
    "{count:,} pairs have no prompt or no answer and are left out": "{count:,} 对数据缺少提问或回答，未被使用",
    "The prompts of pair {pair:,} of the {split} split differ.": "{split} 部分第 {pair:,} 对的两个提问不同。",
    "Prepare the data again with a chat template that puts the answer last.":
        "请用把回答放在最后的对话模板重新准备数据。",
    "{folder} holds {found} data, stage {stage} needs {kinds}.":
        "{folder} 是 {found} 数据，而 {stage} 阶段需要 {kinds}。",
    "Prepare it with --kind {wanted}.": "请以 {wanted} 类型重新准备。",
    "{folder} holds {found} data of the tokenizer {tokenizer}…, {data} {own} data of {own_tokenizer}….":
        "{folder} 是分词器 {tokenizer}… 的 {found} 数据，而 {data} 是 {own_tokenizer}… 的 {own} 数据。",
    "Prepare both alike.": "请用同样的方式准备两者。",
    "The data was prepared with another tokenizer than that of {path}.": "数据所用的分词器与 {path} 的不同。",
    "Prepare it again with --tokenizer {path}.": "请用 {path} 的分词器重新准备。",
    "The model has {count} embeddings, the data's tokenizer {ids} ids.":
        "模型有 {count} 个嵌入，而数据的分词器有 {ids} 个编号。",
    "Prepare the data with the model's own tokenizer.": "请用模型自己的分词器准备数据。",
    "A model that starts from nothing needs a tokenizer.": "从零开始的模型需要分词器。",
    "Choose one, or the size of a vocabulary to learn.": "请选择一个，或指定要学习的词表大小。",
    "No file is named to learn from.": "没有指定用于学习的文件。",
    "Choose at least one file or folder.": "请至少选择一个文件或文件夹。",
    # Settings against each other and the machine
    "global_batch_size {rows} is not a multiple of micro_batch_size {at_once} × {ranks} ranks.":
        "global_batch_size {rows} 不是 micro_batch_size {at_once} × {ranks} 个进程的倍数。",
    "Use {less} or {more}, or another micro_batch_size.": "请用 {less} 或 {more}，或更改 micro_batch_size。",
    "num_minibatches {parts} does not divide the {prompts} prompts of a step among {ranks} ranks.":
        "num_minibatches {parts} 无法把一步的 {prompts} 个提问平分给 {ranks} 个进程。",
    "Use a global_batch_size that is a multiple of num_minibatches and the ranks.":
        "请把 global_batch_size 设为 num_minibatches 与进程数的倍数。",
    "optimizer adamw_8bit quantises averages in blocks of a whole tensor, of which parallel fsdp keeps rows.":
        "optimizer adamw_8bit 按整个张量分块量化，而 parallel fsdp 只保存其中几行。",
    "Set optimizer to adamw, whose averages fsdp shares out, or parallel to ddp.":
        "请把 optimizer 设为 adamw（fsdp 会分摊其状态），或把 parallel 设为 ddp。",
    "sample_interval lets one rank write texts, which has only a part of the weights with parallel fsdp.":
        "sample_interval 让一个进程生成文本，而 parallel fsdp 时它只有一部分权重。",
    "Set sample_interval to 0, or parallel to ddp.": "请把 sample_interval 设为 0，或把 parallel 设为 ddp。",
    "Stage {stage} lets each rank write texts, which has only a part of the weights with parallel fsdp.":
        "{stage} 阶段让每个进程生成文本，而 parallel fsdp 时它只有一部分权重。",
    "Set parallel to ddp; where the whole model has no room, train an adapter.":
        "请把 parallel 设为 ddp；若放不下整个模型，请训练适配器。",
    "max_seq_len {size} exceeds the model's context of {most}.": "max_seq_len {size} 超过模型的上下文长度 {most}。",
    "Set max_seq_len to {most} or less.": "请把 max_seq_len 设为不超过 {most}。",
    "Training {count:,} parameters takes {needed:.1f} GiB at least, {free:.1f} GiB are free.":
        "训练 {count:,} 个参数至少需要 {needed:.1f} GiB 内存，现有 {free:.1f} GiB 可用。",
    "Choose a smaller preset or shape.": "请选择更小的预设或形状。",
    "{path} is {stored} already, and base_quantization is {wanted}.":
        "{path} 已经是 {stored}，而 base_quantization 是 {wanted}。",
    "Set base_quantization to none or {stored}, or start from the unquantised model.":
        "请把 base_quantization 设为 none 或 {stored}，或从未量化的模型开始。",
    "optimizer adamw_8bit does not run on {device}.": "optimizer adamw_8bit 不能在 {device} 上运行。",
    "Set optimizer to adamw.": "请把 optimizer 设为 adamw。",
    "Triton is not installed": "没有安装 Triton",
    "no compiler is on the PATH ({names})": "PATH 中没有编译器（{names}）",
    "compile is on, and {missing}.": "compile 设为 on，但{missing}。",
    "Install it, or set compile to auto.": "请安装它，或把 compile 设为 auto。",
    "TensorBoard files need tensorboardX.": "TensorBoard 文件需要 tensorboardX。",
    "pip install tensorboardX, or turn it off.": "请 pip install tensorboardX，或关闭此项。",
    "There is no reward.": "没有奖励。",
    "There is reward_model {path} and a reward function too.": "既有 reward_model {path}，又有奖励函数。",
    "Set reward_model, or call train(config, reward=function).":
        "请设置 reward_model，或调用 train(config, reward=function)。",
    "The reward model {path} has another tokenizer ({ids:,} ids) than the policy ({own:,} ids).":
        "奖励模型 {path} 的分词器（{ids:,} 个编号）与被训练模型的（{own:,} 个编号）不同。",
    "Train a reward model from the policy, with --stage rm.": "请以 rm 阶段从被训练的模型训练一个奖励模型。",
    "The reward model {path} reads {most} tokens, max_seq_len is {size}.":
        "奖励模型 {path} 最多读取 {most} 个词元，而 max_seq_len 是 {size}。",
    "device mps cannot train on several processes.": "mps 设备不能用多个进程训练。",
    "Use --device cpu, or one process.": "请使用 cpu 设备，或只用一个进程。",
    "{wanted} processes on this machine need as many GPUs, it has {count}.":
        "本机 {wanted} 个进程需要同样多的 GPU，而现有 {count} 个。",
    "Use --nproc {count}, or --device cpu.": "请用 {count} 个进程，或使用 cpu 设备。",
    # Runs
    "{path} is being trained by another process.": "{path} 正由另一个进程训练。",
    "Wait for it or stop it, or choose another --output.": "请等待或停止它，或选择其他输出文件夹。",
    "{path} already holds a run.": "{path} 中已有一次训练。",
    "Resume it with --resume, or choose another --output.": "请继续它，或选择其他输出文件夹。",
    "{path} could not be written: {reason} ({free:.1f} MB free).":
        "无法写入 {path}：{reason}（剩余 {free:.1f} MB）。",
    "Free some space, or choose another --output.": "请腾出一些空间，或选择其他输出文件夹。",
    "{name} {before}, not {now}": "{name} 是 {before}，而不是 {now}",
    "{path} was begun with {changed}.": "{path} 开始时的设置不同：{changed}。",
    "Resume with the run's own settings, or choose another --output.": "请用原来的设置继续，或选择其他输出文件夹。",
    "{path} has no whole checkpoint among {count}.": "{path} 的 {count} 个检查点都不完整。",
    "Start it again without --resume into another folder.": "请在其他文件夹中重新开始。",
    "{path} is not the model that this run started from ({now}…, then {before}…).":
        "{path} 不是这次训练开始时的模型（现在是 {now}…，当时是 {before}…）。",
    "Put that model back, or start a new run.": "请恢复原来的模型，或开始新的训练。",
    "{path} was prepared anew since this run began: its rows are not those it has learnt from.":
        "{path} 在训练开始后被重新准备过，其中的数据不是它学过的。",
    "Put the data back, or start a new run.": "请恢复原来的数据，或开始新的训练。",
    "its rows carry no label": "数据中没有可学习的标签",
    "Step {step} has no token to learn from: {left_out}.": "第 {step} 步没有可学习的词元：{left_out}。",
    "The loss of step {step} is {loss}, its gradient's norm {norm}.":
        "第 {step} 步的损失是 {loss}，梯度范数是 {norm}。",
    "{reason} {count} weights of {path} are not finite.": "{reason}{path} 中有 {count} 个权重不是有限数。",
    "Start from another base.": "请从其他模型开始。",
    "Lower learning_rate (now {rate}) or use precision fp32, then --resume.":
        "请降低 learning_rate（现为 {rate}）或把 precision 设为 fp32，然后继续训练。",
    "Step {step} found no memory for {wanted} on {device}.": "第 {step} 步在 {device} 上没有 {wanted} 的内存可用。",
    "Step {step} found no memory on {device}.": "第 {step} 步在 {device} 上内存不足。",
    "Lower micro_batch_size (now {rows}; the result stays the same), then --resume; checkpoints are untouched.":
        "请降低 micro_batch_size（现为 {rows}，结果不变），然后继续训练；检查点未受影响。",
    "Lower max_seq_len (now {size}), or train an adapter, then --resume; checkpoints are untouched.":
        "请降低 max_seq_len（现为 {size}）或训练适配器，然后继续训练；检查点未受影响。",
    "The reward function gave {count} rewards for {wanted} completions.":
        "奖励函数为 {wanted} 个回答给出了 {count} 个奖励。",
    "Return one number for each completion, in order.": "请按顺序为每个回答返回一个数。",
    "The reward of row {row} is {value}, of the completion {completion!r:.200} to {prompt!r:.200}.":
        "第 {row} 条的奖励是 {value}：提问 {prompt!r:.200}，回答 {completion!r:.200}。",
    "The reward must be a finite number for every text, an empty one too.":
        "任何文本（包括空文本）的奖励都应是有限数。",
    "The policy cannot generate: {reason}": "被训练的模型无法生成：{reason}",
    "Lower learning_rate or raise kl_coef, then --resume.": "请降低 learning_rate 或提高 kl_coef，然后继续训练。",
    "The reference's log-probabilities could not be written beside the data or in the run: {reason}.":
        "无法把参考模型的对数概率写到数据旁边或训练文件夹中：{reason}。",
    "Free some space, or train without cache_reference.": "请腾出一些空间，或关闭 cache_reference。",
    "The row of step {step} could not be written to {file}: {reason}.":
        "无法把第 {step} 步的记录写入 {file}：{reason}。",
    "Free some space; checkpoints are untouched and the run resumes with --resume.":
        "请腾出一些空间；检查点未受影响，可以继续训练。",
    "{reason} ({free:.1f} MB free).": "{reason}（剩余 {free:.1f} MB）。",
    "The checkpoint of step {step} could not be written: {reason}": "无法写入第 {step} 步的检查点：{reason}",
    "Free some space; earlier checkpoints are untouched and the run resumes with --resume.":
        "请腾出一些空间；此前的检查点未受影响，可以继续训练。",
    "{run} is being started or ended just now.": "{run} 正在启动或结束。",
    "Look at it again in a moment.": "请稍后再看。",
    "Another program changes the queue.": "另一个程序正在更改队列。",
    "Try again.": "请重试。",
    # Why a process ended
    "Rank {rank}: {reason}": "进程 {rank}：{reason}",
    "Rank {rank} (process {process}) ended with exit code {code} and left no cause.":
        "进程 {rank}（{process}）以退出码 {code} 结束，没有说明原因。",
    "Rank {rank} (process {process}) was killed by {signal}.": "进程 {rank}（{process}）被 {signal} 终止。",
    "If its machine was short of memory, lower micro_batch_size.": "如果那台机器内存不足，请降低 micro_batch_size。",
    "Rank {rank} lost the connection to the others: {reason}.": "进程 {rank} 与其他进程断开：{reason}。",
    "Rank {rank} lost its launcher (process {process}), which ended.": "进程 {rank} 的启动程序（{process}）已结束。",
    "Rank {rank} ({process}) has not answered for {seconds:.0f} s.":
        "进程 {rank}（{process}）已 {seconds:.0f} 秒没有回应。",
    "Rank {rank} lost the launcher, which held the store at {address}.":
        "进程 {rank} 失去了启动程序，它保存着 {address} 的共享数据。",
    "Rank {rank} lost rank 0 ({process}), which held the store at {address}.":
        "进程 {rank} 失去了进程 0（{process}），它保存着 {address} 的共享数据。",
    "Rank {rank} ({process}) ended without a word.": "进程 {rank}（{process}）没有说明原因就结束了。",
    "The ranks could not be started or watched: {reason}": "无法启动或监视各进程：{reason}",
    "Rank {rank} of {count} did not find the others: {reason}":
        "进程 {rank}（共 {count} 个）没有找到其他进程：{reason}",
    "Check that all machines reach the rendezvous address.": "请检查所有机器都能连到会合地址。",
    "The run goes on from its last checkpoint with --resume.": "可以从最近的检查点继续训练。",
    "The run folder must be the same for all machines.": "所有机器应使用同一个训练文件夹。",
    "The process was killed by {name}.": "进程被 {name} 终止。",
    "The process was killed by {name} while this machine had run out of memory.":
        "进程被 {name} 终止，当时本机内存已耗尽。",
    "The process ended with exit code {code} and left no word.": "进程以退出码 {code} 结束，没有留下说明。",
    "The process is gone and left no word.": "进程已不在，没有留下说明。",
    "The run's supervisor ended at once.": "监视这次训练的程序一启动就结束了。",
    "The run's supervisor could not be started: {reason}.": "无法启动监视这次训练的程序：{reason}。",
    "The run could not be watched: {reason}": "无法监视这次训练：{reason}",
    "See {path}.": "详见 {path}。",
    "The first steps ended with status {code}: {last}.": "最初几步以状态 {code} 结束：{last}。",
    "Correct what it says, or start the run without an estimate.": "请按提示修正，或不做估算直接开始。",
    "Lower micro_batch_size or max_seq_len, or close other programs; then resume.":
        "请降低 micro_batch_size 或 max_seq_len，或关闭其他程序，然后继续。",
    "Lower learning_rate or use precision fp32, then resume.":
        "请降低 learning_rate 或把 precision 设为 fp32，然后继续。",
    "Mend or remove that file, then start again.": "请修正或移除该文件，再重新开始。",
    "Resume: it goes on from the newest checkpoint.": "请继续：它会从最新的检查点接着训练。",
    "Free some space, then resume: checkpoints are untouched.": "请腾出一些空间再继续：检查点未受影响。",
    "Correct the settings and start again.": "请修正设置后重新开始。",
    "Look at the end of the log.": "请查看日志末尾。",
    # Evaluation
    "An option of {count} tokens exceeds the context of {most}.": "一个选项有 {count} 个词元，超过上下文长度 {most}。",
    "Leave the question out, or load the model with a larger context.": "请去掉这道题，或以更大的上下文加载模型。",
    "The loss of {name} on an option is not finite: its weights are damaged.":
        "{name} 在一个选项上的损失不是有限数：其权重已损坏。",
    "{path} holds no text ({size} bytes).": "{path} 中没有文本（{size} 字节）。",
    "Give a file with text.": "请提供含有文本的文件。",
    "The loss of {name} on {path} is {loss}: its weights are damaged.":
        "{name} 在 {path} 上的损失是 {loss}：其权重已损坏。",
    "Correct the file, or leave it out.": "请修正该文件，或不要选它。",
    "None of {count} prompts leaves room for {most} tokens.": "{count} 个提问都没有给 {most} 个词元的回答留出空间。",
    "Give prompts, or fewer max_new_tokens.": "请提供提问，或降低 max_new_tokens。",
    "no question among {names}": "没有问题字段，现有：{names}",
    "fewer than two options": "选项少于两个",
    "the answer {answer} is none of the {count} options": "答案 {answer} 不在 {count} 个选项之中",
    "{path} holds no question.": "{path} 中没有问题。",
    "Give rows with question, options and answer, or a file of a known benchmark.":
        "请提供含问题、选项和答案的数据，或已知评测集的文件。",
    "{path} has {count} lines, six a task leave {left}.": "{path} 有 {count} 行，每题六行还余 {left} 行。",
    "{path} is not JSON: {reason}.": "{path} 不是 JSON：{reason}。",
    "{place}: not a passage with questions.": "{place}：不是带问题的段落。",
    "None of {count} pairs fits {most} tokens.": "{count} 对数据都放不进 {most} 个词元。",
    "Give shorter pairs.": "请提供更短的数据。",
    "{path} holds no pair that fits {most} tokens.": "{path} 中没有能放进 {most} 个词元的偏好对。",
    "Give preference pairs.": "请提供偏好对。",
    "A reward is not finite: the reward model's weights are damaged.": "有一个奖励不是有限数：奖励模型的权重已损坏。",
    "Train it again.": "请重新训练。",
}  # fmt: skip
