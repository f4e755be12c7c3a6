"""Chinese for the errors of models: their folders, tokenizers, adapters and files, and answers that end with one."""

MODEL_ERRORS: dict[str, str] = {
    # Shapes
    "model_type {found} is not supported.": "不支持 model_type {found}。",
    "model_type {found} is not supported and brings its own code (auto_map), which is never run.":
        "不支持 model_type {found}；它自带代码（auto_map），本程序从不运行这类代码。",
    "Use a model of one of: {names}.": "请使用以下类型之一的模型：{names}。",
    "{name} {found} is not supported.": "不支持 {name} 为 {found}。",
    "Only {known} is.": "只支持 {known}。",
    "config.json needs positive numbers: {found}.": "config.json 中应为正数：{found}。",
    "config.json cannot be right: {reason}.": "config.json 有误：{reason}。",
    "rope_scaling is {found}, not an object.": "rope_scaling 是 {found}，而不是对象。",
    "{count} of {layers} layers have full attention, the others a sliding window.":
        "{layers} 层中有 {count} 层使用全局注意力，其余使用滑动窗口。",
    "Use a model whose layers are alike, or set use_sliding_window to false in its config.json.":
        "请使用各层一致的模型，或在其 config.json 中把 use_sliding_window 设为 false。",
    "AstrAI's {name} {found} is not supported.": "不支持 AstrAI 的 {name} 为 {found}。",
    "This AstrAI model has latent attention (MLA): {name}.": "此 AstrAI 模型使用潜在注意力（MLA）：{name}。",
    "This AstrAI model has a mixture of experts (MoE): {name}.": "此 AstrAI 模型使用混合专家（MoE）：{name}。",
    "Use one of AstrAI's dense models.": "请使用 AstrAI 的稠密模型。",
    "device {name!r} is not available here.": "此处没有设备 {name!r}。",
    "Use auto or cpu.": "请使用 auto 或 cpu。",
    # Weights
    "The weights of {name} do not fit its config.json: {problems}.": "{name} 的权重与其 config.json 不符：{problems}。",
    "{path} ({size:,} bytes) is not a whole safetensors file: {reason}.":
        "{path}（{size:,} 字节）不是完整的 safetensors 文件：{reason}。",
    "Download or copy it again.": "请重新下载或复制。",
    "{path} is not a whole safetensors file: {reason}.": "{path} 不是完整的 safetensors 文件：{reason}。",
    "{name} in {folder} has {rows} of {count} rows.": "{folder} 中的 {name} 只有 {count} 行中的 {rows} 行。",
    "{bad} of {count} weights are not finite.": "{count} 个权重中有 {bad} 个不是有限数。",
    "The model is quantised as {found} with {bits} bits, which is not supported.":
        "模型以 {found}、{bits} 位量化，不受支持。",
    "Use the unquantised model; it is quantised here on loading.": "请使用未量化的模型，加载时会在本机量化。",
    "{path} is a reward model: it scores answers and writes none.": "{path} 是奖励模型：它只评分，不写回答。",
    "Take the model that it was trained from, or give this one where a reward model is asked for.":
        "请使用它的原模型；需要奖励模型的地方才用这一个。",
    "{path} is not a reward model.": "{path} 不是奖励模型。",
    "Train one with --stage rm.": "请以 rm 阶段训练一个。",
    "{file} of {name}: {reason}.": "{name} 的 {file}：{reason}。",
    "Mend it or delete {file}.": "请修正或删除 {file}。",
    # Adapters
    "Choose a folder that PEFT saved an adapter to.": "请选择由 PEFT 保存适配器的文件夹。",
    "{folder} names no base model in its {file}.": "{folder} 的 {file} 没有写明基础模型。",
    "Write its path to base_model_name_or_path.": "请把它的路径写入 base_model_name_or_path。",
    "{folder} holds no layer.": "{folder} 中没有任何层。",
    "Save the adapter again.": "请重新保存适配器。",
    "The stored adapter is of {stored} layers as {stored_shape}, the model's of {count} as {shape}.":
        "保存的适配器有 {stored} 层、形状为 {stored_shape}，模型的适配器有 {count} 层、形状为 {shape}。",
    "Use the settings that the adapter was made with.": "请使用制作该适配器时的设置。",
    "{folder} is an adapter of kind {found}, not LORA.": "{folder} 的适配器类型是 {found}，而不是 LORA。",
    "Use a LoRA adapter of the attention and feed-forward layers, saved by PEFT for this very model.":
        "请使用由 PEFT 为此模型保存的、针对注意力层和前馈层的 LoRA 适配器。",
    "{folder} sets {name} to {found}, which is not supported.": "{folder} 把 {name} 设为 {found}，不受支持。",
    "r of {folder} is {found}, it must be a number in 1 … {most}.":
        "{folder} 的 r 是 {found}，应为 1 到 {most} 的整数。",
    "lora_alpha of {folder} is {found}, it must be a number.": "{folder} 的 lora_alpha 是 {found}，应为数字。",
    "{folder} has its weights as a pickle ({file}), which can run code.":
        "{folder} 的权重是 pickle 文件（{file}），其中可能含有会被运行的代码。",
    "{folder} has no {file}.": "{folder} 中没有 {file}。",
    "Save the adapter with safe_serialization=True.": "请以 safe_serialization=True 保存适配器。",
    "{folder} changes {name}, which is no layer of this model's that can be.":
        "{folder} 要改动 {name}，而此模型没有可这样改动的层。",
    "{name} of {folder} is {found} of {dtype}, this model needs {needed}.":
        "{folder} 的 {name} 是 {dtype} 的 {found}，此模型需要 {needed}。",
    "{name} of {folder} holds values that are not finite.": "{folder} 的 {name} 含有非有限数。",
    "Train the adapter again.": "请重新训练适配器。",
    "{folder} has {found} of {name}, and an adapter of its kind has {wanted}.":
        "{folder} 中 {name} 只有 {found}，这类适配器应有 {wanted}。",
    "{folder} makes {name} infinite: its scale is {scale:g}.": "{folder} 使 {name} 变为无穷大：其系数为 {scale:g}。",
    "{name} was trained on a model whose weights hash to {known}…; those of {path} hash to {found}….":
        "{name} 所训练的模型权重哈希为 {known}…，而 {path} 的为 {found}…。",
    "{name} was trained on {base}, and the model is {path}, whose weights are others.":
        "{name} 是在 {base} 上训练的，而当前模型 {path} 的权重不同。",
    "Take the right model, or correct base_model_name_or_path in {file}.":
        "请使用正确的模型，或修正 {file} 中的 base_model_name_or_path。",
    "{name} is an adapter of itself.": "{name} 是它自己的适配器。",
    "Correct base_model_name_or_path in {file}.": "请修正 {file} 中的 base_model_name_or_path。",
    "{name} is an adapter of {base}, which is not here: {reason}":
        "{name} 是 {base} 的适配器，而后者不在此处：{reason}",
    "Put that model there, or correct base_model_name_or_path in {file}.":
        "请把该模型放到那里，或修正 {file} 中的 base_model_name_or_path。",
    "{folder} holds no adapter.": "{folder} 中没有适配器。",
    "Choose a folder with {file}.": "请选择含有 {file} 的文件夹。",
    "{name!r} is no name for an adapter.": "{name!r} 不能用作适配器名称。",
    "Give 1 … {most} printable characters.": "请填写 1 到 {most} 个可显示的字符。",
    "There is no adapter {name!r}; those that are loaded: {known}.": "没有适配器 {name!r}；已加载的有：{known}。",
    "Load it first.": "请先加载它。",
    "There is an adapter {name!r} already.": "已有适配器 {name!r}。",
    "Unload it, or give another name.": "请先移出它，或换一个名称。",
    "There is no adapter {name!r}.": "没有适配器 {name!r}。",
    "Loaded are: {known}.": "已加载的有：{known}。",
    # Other forms
    "{path} is quantised already.": "{path} 已经量化过。",
    "Start from the unquantised model.": "请从未量化的模型开始。",
    "{path} is a whole model.": "{path} 是完整的模型。",
    "Give the run or folder of an adapter.": "请提供适配器的训练或文件夹。",
    "{path} is quantised, which other programs cannot read.": "{path} 已量化，其他程序无法读取。",
    "Export the unquantised model.": "请导出未量化的模型。",
    "{path} has AstrAI's own gate or q/k norm after RoPE, which transformers does not run.":
        "{path} 使用 AstrAI 自有的门控或 RoPE 之后的 q/k 归一化，transformers 无法运行。",
    "Export to int8, or use it as it is.": "请导出为 int8，或直接使用。",
    "{path} does not end in {suffix}.": "{path} 不以 {suffix} 结尾。",
    "Call it {name}{suffix}.": "请命名为 {name}{suffix}。",
    "{path} is the model itself and would be overwritten.": "{path} 就是该模型本身，会被覆盖。",
    "Choose another place.": "请选择其他位置。",
    "{path} exists already.": "{path} 已存在。",
    "Choose another place, or delete it.": "请选择其他位置，或先删除它。",
    "{path} could not be written: {reason} ({needed:.1f} MB needed, {free:.1f} MB free).":
        "无法写入 {path}：{reason}（需要 {needed:.1f} MB，剩余 {free:.1f} MB）。",
    "Free some space, or choose a folder that you may write to.": "请腾出空间，或选择可写入的文件夹。",
    "{name} is of the family {family}, which no other program runs.": "{name} 属于 {family} 系列，其他程序无法运行。",
    "rope_scaling {found} with {names} has no form in GGUF.": "带有 {names} 的 rope_scaling {found} 无法用 GGUF 表示。",
    "Export to hf instead.": "请改为导出到 hf。",
    "{name} holds values beyond {most:.0f}, or some that are no numbers.":
        "{name} 含有超过 {most:.0f} 的数值，或者非数字。",
    "Export it with f32.": "请以 f32 导出。",
    # Tokenizers and templates
    "The tokenizer has {count} ids, the model {embeddings} embeddings.":
        "分词器有 {count} 个编号，模型只有 {embeddings} 个嵌入。",
    "The tokenizer is of type {found}.": "分词器类型是 {found}。",
    "Only BPE tokenizers are supported.": "只支持 BPE 分词器。",
    "Use a file with a gpt2 or llama tokenizer.": "请使用带 gpt2 或 llama 分词器的文件。",
    "tokenizer.model is not a SentencePiece model.": "tokenizer.model 不是 SentencePiece 模型。",
    "Download the model again.": "请重新下载模型。",
    "tokenizer.json cannot be read: {reason}.": "无法读取 tokenizer.json：{reason}。",
    "The tokenizer cuts texts as {name!r}, which is not known here.": "分词器以 {name!r} 方式切分文本，本程序不认识。",
    "Use the safetensors folder, or a file with one of: {known}.":
        "请使用 safetensors 文件夹，或带有以下方式之一的文件：{known}。",
    "The tokenizer cuts texts in a way that GGUF has no name for.": "GGUF 没有与此分词器切分方式对应的名称。",
    "The tokenizer changes texts in a way that GGUF has no name for.": "GGUF 没有与此分词器改写方式对应的名称。",
    "The tokenizer's merges have an order that GGUF cannot hold.": "GGUF 无法保存此分词器的合并顺序。",
    "The file has {count} tokens and {types} types of them.": "文件有 {count} 个词元，却有 {types} 个词元类型。",
    "The file has {count} tokens and {scores} scores of them.": "文件有 {count} 个词元，却有 {scores} 个词元分数。",
    "{bad} of {count} merges are not of its tokens.": "{count} 个合并中有 {bad} 个不属于其词元。",
    "The tokenizer has a piece of {size:,} characters.": "分词器中有一个长达 {size:,} 个字符的词元。",
    "The file has no list of {wanted} called {name}.": "文件中没有名为 {name} 的 {wanted} 列表。",
    "The chat template is {size:,} characters, over {most:,}.": "对话模板有 {size:,} 个字符，上限 {most:,}。",
    "The chat template does not compile: {reason}.": "对话模板无法编译：{reason}。",
    "The chat template fails on this conversation: {reason}.": "对话模板处理此对话时出错：{reason}。",
    "Choose another version of the model, or remove chat_template from its tokenizer_config.json.":
        "请换用该模型的其他版本，或从其 tokenizer_config.json 中删除 chat_template。",
    "This chat template rewrites earlier turns, so the assistant's tokens cannot be found.":
        "此对话模板会改写之前的轮次，无法找出助手的词元。",
    "Train with a ChatML tokenizer.": "请使用 ChatML 分词器训练。",
    # GGUF files
    "{name} cannot be right: {reason}.": "{name} 有误：{reason}。",
    "it begins with {found}": "它以 {found} 开头",
    "it is big-endian": "它是大端序",
    "its version is {version}, not 2 or 3": "其版本是 {version}，而不是 2 或 3",
    "it claims {count:,} {what}, at most {most:,} make sense": "它声称有 {count:,} 个{what}，合理的上限为 {most:,}",
    "tensors": "张量",
    "metadata entries": "元数据项",
    "{name!r} stands in it twice": "{name!r} 在其中出现两次",
    "general.alignment is {found}, not a power of two from 8 on":
        "general.alignment 是 {found}，应为不小于 8 的 2 的幂",
    "tensor {name!r} at offset {offset:,} stands in it twice or is not aligned":
        "位于 {offset:,} 的张量 {name!r} 出现两次或没有对齐",
    "tensor {name!r} has {count} dimensions": "张量 {name!r} 有 {count} 个维度",
    "tensor {name!r} is of the unknown type {found}": "张量 {name!r} 的类型 {found} 未知",
    "tensor {name!r} has the shape {shape} in blocks of {block}":
        "张量 {name!r} 的形状 {shape} 无法分为 {block} 个一块",
    "tensor {name!r} ends at byte {end:,}": "张量 {name!r} 的末尾在第 {end:,} 字节",
    "it holds a list of {count:,} entries, at most {most:,} make sense":
        "其中有 {count:,} 项的列表，合理的上限为 {most:,}",
    "a value is of the unknown type {found}": "有一个值的类型 {found} 未知",
    "it holds a text of {size:,} bytes at byte {at:,}": "第 {at:,} 字节处有长达 {size:,} 字节的文本",
    "{size:,} bytes are wanted at byte {at:,}": "第 {at:,} 字节处还需要 {size:,} 字节",
    # Answers
    "The prompt is empty.": "提示为空。",
    "Give at least one token of text.": "请至少给出一个词元的文本。",
    "The prompt holds id {found}, the model has ids 0 … {last}.": "提示中含有编号 {found}，模型的编号为 0 到 {last}。",
    "Encode the text with the model's own tokenizer.": "请使用该模型自己的分词器编码。",
    "The conversation is {count} tokens, the model's context is {most}.":
        "对话有 {count} 个词元，模型的上下文为 {most}。",
    "Start a new chat or shorten the message.": "请开始新对话，或缩短消息。",
    "{count} tokens do not fit the model's context of {most}.": "{count} 个词元超出模型的上下文 {most}。",
    "Shorten the conversation or start a new one.": "请缩短对话，或开始新对话。",
    "The model was loaded in the process that this one was forked from.": "模型是在派生本进程的那个进程中加载的。",
    "Load it here.": "请在此处加载。",
    "The model was closed.": "模型已关闭。",
    "Load it again.": "请重新加载。",
    "{count} requests are under way or waiting, the most is {most}.":
        "正在处理或等待的请求有 {count} 个，上限为 {most}。",
    "Try again in a moment, or ask for fewer at once.": "请稍后重试，或一次少请求一些。",
    "A prefix has at least {least} tokens.": "前缀至少要有 {least} 个词元。",
    "Keep a longer text.": "请保存更长的文本。",
    "The cache had no room for the prefix.": "缓存中没有放前缀的空间。",
    "Try again when fewer answers are under way.": "请在正在生成的回答较少时重试。",
    "max_seq_len {size} is outside 1 … {most}.": "max_seq_len {size} 不在 1 到 {most} 之间。",
    "The model's context is the limit.": "上限是模型的上下文长度。",
    "A context of {size} tokens needs {needed:.1f} GiB, {free:.1f} GiB are free.":
        "{size} 个词元的上下文需要 {needed:.1f} GiB，剩余 {free:.1f} GiB。",
    "Set max_seq_len lower.": "请把 max_seq_len 设小一些。",
    "{bad} of the model's {count} logits are not finite: its weights are damaged.":
        "模型的 {count} 个输出中有 {bad} 个不是有限数：其权重已损坏。",
    "Download the model again, or go back to an earlier checkpoint.": "请重新下载模型，或退回较早的检查点。",
    "logit_bias or stop_ids name id {found}, the model has ids 0 … {last}.":
        "logit_bias 或 stop_ids 中有编号 {found}，模型的编号为 0 到 {last}。",
    "Use ids of the model's own tokenizer.": "请使用该模型自己分词器的编号。",
    "The model gives no probability to any token that the output format allows.":
        "输出格式所允许的词元，模型都没有给出概率。",
    "Simplify json_schema or take another model.": "请简化 json_schema，或换一个模型。",
    "Computing the answer failed: {reason}.": "计算回答时出错：{reason}。",
    "Ask again; the log tells more.": "请再问一次；日志中有更多信息。",
    "A context of {size} tokens needs {needed} blocks, the model has {count}.":
        "{size} 个词元的上下文需要 {needed} 个块，模型有 {count} 个。",
    "{needed} blocks are needed, {free} are free.": "需要 {needed} 个块，剩余 {free} 个。",
    "The adapter was unloaded.": "该适配器已移出内存。",
}  # fmt: skip
