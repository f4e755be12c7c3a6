"""What is wrong with settings and what the studio refuses, in Chinese by the English; a part of `app.error_texts`."""

SETTING_PROBLEMS: dict[str, str] = {
    # One setting
    "{name} is required ({help})": "必须填写 {name}（{help}）",
    "{name} is empty, it needs a value": "{name} 为空，需要一个值",
    "{name} is {value!r}, it must be {kind}": "{name} 的值是 {value!r}，类型应为 {kind}",
    "{name} is {value!r}, it must be {what}": "{name} 的值是 {value!r}，应为{what}",
    "{name} is {value}, the minimum is {low}": "{name} 的值是 {value}，最小为 {low}",
    "{name} is {value}, the maximum is {high}": "{name} 的值是 {value}，最大为 {high}",
    "{name} is {value!r}, it must be one of {known}": "{name} 的值是 {value!r}，应为其中之一：{known}",
    'no option "{name}": did you mean "{near}"?': "没有选项“{name}”：是否指“{near}”？",
    'no option "{name}" (there are: {known})': "没有选项“{name}”（现有：{known}）",
    "a whole number": "整数",
    "a number": "数字",
    "a JSON list": "JSON 列表",
    "a JSON object": "JSON 对象",
    "a value": "一个值",
    # Settings that do not go together
    "{name} {value} needs adapter lora or dora, and adapter is none":
        "{name} {value} 需要 adapter 为 lora 或 dora，而 adapter 是 none",
    "muon_momentum {value} is for optimizer muon, not for {optimizer}":
        "muon_momentum {value} 只用于优化器 muon，而不是 {optimizer}",
    "schedule: {problem}": "schedule：{problem}",
    "{name} belongs to the loss {losses}, not to {loss}": "{name} 属于损失 {losses}，而不是 {loss}",
    "cache_reference is true, and the loss {loss} has no reference":
        "cache_reference 已开启，而损失 {loss} 没有参考模型",
    "max_new_tokens {new} leaves no room for a prompt in max_seq_len {length}":
        "max_new_tokens {new} 在 max_seq_len {length} 中没有给提问留出空间",
    "num_minibatches {count} does not divide global_batch_size {size}":
        "num_minibatches {count} 不能整除 global_batch_size {size}",
    "cispo_max_ratio {value} is for cispo, policy_loss is {loss}":
        "cispo_max_ratio {value} 只用于 cispo，而 policy_loss 是 {loss}",
    "clip_range {value} does nothing with policy_loss cispo: set cispo_max_ratio":
        "policy_loss 为 cispo 时 clip_range {value} 不起作用：请改设 cispo_max_ratio",
    "num_generations {count} is no group: stage grpo compares at least 2":
        "num_generations {count} 不成一组：grpo 阶段至少比较 2 个",
    "{name} is for kind {kinds}, not for {kind}": "{name} 只用于 kind {kinds}，而不是 {kind}",
    "warmup_ratio {warmup} + decay_ratio {decay} exceed 1": "warmup_ratio {warmup} 与 decay_ratio {decay} 之和超过 1",
    "global_batch_size {size} is not a multiple of micro_batch_size {micro}: use {below} or {above}":
        "global_batch_size {size} 不是 micro_batch_size {micro} 的倍数：请用 {below} 或 {above}",
    "stage {stage} needs base, the run or model to start from": "{stage} 阶段需要 base，即作为起点的训练或模型",
    "epochs is 0 and max_steps is not given, nothing would be trained":
        "epochs 为 0 且没有给出 max_steps，什么也不会训练",
    "adapter {adapter} needs base, the model that it is trained beside":
        "adapter {adapter} 需要 base，即适配器所附的模型",
    "compile is for whole models, and adapter is {adapter}: set it to auto or off":
        "compile 只用于整个模型，而 adapter 是 {adapter}：请设为 auto 或 off",
    "optimizer muon is for whole matrices, and adapter is {adapter}: take adamw":
        "优化器 muon 只用于完整矩阵，而 adapter 是 {adapter}：请用 adamw",
    "parallel fsdp is for whole models, and adapter is {adapter}: take ddp":
        "parallel fsdp 只用于整个模型，而 adapter 是 {adapter}：请用 ddp",
    "stage ppo trains a value model too, which cannot be kept in nf4: take int8 or int4":
        "ppo 阶段还要训练价值模型，它不能用 nf4 保存：请用 int8 或 int4",
    "stage rm trains a whole reward model, and adapter is {adapter}: set it to none":
        "rm 阶段训练完整的奖励模型，而 adapter 是 {adapter}：请设为 none",
    "base {base} has its own shape: leave out model": "base {base} 有自己的结构：请去掉 model",
    "early_stopping {count} needs validations on the way: set validation_interval":
        "early_stopping {count} 需要在训练途中验证：请设置 validation_interval",
    "keep_best needs validations on the way: set validation_interval":
        "keep_best 需要在训练途中验证：请设置 validation_interval",
    "sample_prompts are answered every sample_interval steps, and that is 0":
        "sample_prompts 每隔 sample_interval 步生成一次，而后者为 0",
    "max_steps {steps} and epochs {epochs:g} both say how long: leave one out":
        "max_steps {steps} 与 epochs {epochs:g} 都在规定时长：请只保留一个",
    "{name} belongs to stage {stages}, not to {stage}": "{name} 属于 {stages} 阶段，而不是 {stage}",
    "mixture's share of {folder} is {share!r}, it must be a number between 0.001 and 0.999":
        "mixture 中 {folder} 的比例是 {share!r}，应为 0.001 到 0.999 之间的数字",
    "mixture's shares add up to {total:g} and leave nothing for data":
        "mixture 的比例之和为 {total:g}，没有给 data 留下份额",
    "Correct these settings.": "请修改这些设置。",
    # Runs
    "queued": "排队中",
    "starting": "启动中",
    "running": "运行中",
    "stopping": "停止中",
    "finished": "已完成",
    "stopped": "已停止",
    "failed": "失败",
    "interrupted": "已中断",
    "nproc is {nproc}, the minimum is 1.": "nproc 的值是 {nproc}，最小为 1。",
    "Give the number of processes.": "请填写进程数。",
    "{run} is not running: it is {what}.": "{run} 没有在运行：它{what}。",
    "There is nothing to stop.": "没有可停止的内容。",
    "There is nothing to kill.": "没有可结束的内容。",
    "{run} could not be asked to stop: {reason}.": "无法请求 {run} 停止：{reason}。",
    "Free some space.": "请腾出一些磁盘空间。",
    "{run} cannot be resumed: it is {what} (attempt {attempt}).": "{run} 无法继续：它{what}（第 {attempt} 次尝试）。",
    "Nothing is left to do.": "已无事可做。",
    "Look at the list of runs.": "请查看训练记录。",
    "{run} does not wait: it is {what}.": "{run} 不在排队：它{what}。",
    "{run} could not be started: {reason}.": "{run} 无法启动：{reason}。",
    "The run could not be written to {folder}: {reason}.": "无法把训练写入 {folder}：{reason}。",
    "Free some space there.": "请在那里腾出一些空间。",
    "{run} is running.": "{run} 正在运行。",
    "Stop it first.": "请先停止它。",
    "There is no run {run!r}.": "没有训练 {run!r}。",
    "The first steps took longer than {seconds:.0f} s.": "最初几步超过了 {seconds:.0f} 秒。",
    "Choose a smaller model, shorter rows (max_seq_len) or a smaller micro_batch_size.":
        "请选择更小的模型、更短的行（max_seq_len）或更小的 micro_batch_size。",
    "{path} is none of the models here.": "{path} 不在这里的模型之列。",
    "Look at the list again.": "请重新查看列表。",
    "No file of this drop arrived.": "拖入的文件没有送达。",
    "Drop the files again.": "请重新拖入文件。",
    "No model is chosen.": "尚未选择模型。",
    "Choose the one to improve at the top of the page.": "请在页面顶部选择要改进的模型。",
    "No model is loaded.": "尚未加载模型。",
    "Choose one at the top of the page.": "请在页面顶部选择一个。",
    "No pair was accepted yet.": "还没有接受任何回答对。",
    "Rate or correct answers in chat, then keep the pairs here.": "请先在对话中评价或修改回答，再在这里接受回答对。",
    "No file is named to learn from.": "没有指定用于学习的文件。",
    "Choose at least one file or folder.": "请至少选择一个文件或文件夹。",
    "A model that starts from nothing needs a tokenizer.": "从零开始的模型需要分词器。",
    "Choose one, or the size of a vocabulary to learn.": "请选择一个分词器，或要学习的词表大小。",
}  # fmt: skip
