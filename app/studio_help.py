"""Chinese names and help of a training config's fields; the English ones are the config's own.

Labels in English are the names as they stand in `config.json`, which errors name too.
"""

from app.i18n import CHINESE

GROUP_TITLES = {
    "run": "group_run",
    "optimizer": "group_optimizer",
    "schedule": "group_schedule",
    "adapter": "group_adapter",
    "preference": "group_preference",
    "rl": "group_rl",
    "parallel": "group_parallel",
}
CHINESE_HELP: dict[str, str] = {
    "data": "prepare 写出的数据文件夹",
    "mixture": '额外的数据集及其占比，例如 {"runs/chat": 0.2}；其余来自 data',
    "output": "要创建的训练文件夹",
    "base": "起始的训练或模型文件夹；留空则权重全新",
    "preset": "全新模型的形状",
    "model": '与形状预设不同的字段，例如 {"num_hidden_layers": 4}',
    "max_steps": "优化步数；留空则由 epochs 决定",
    "epochs": "未给出 max_steps 时，遍历数据的次数",
    "max_seq_len": "一个打包行的长度；rm 与 dpo：提示加回答的最大长度",
    "micro_batch_size": "一次前向计算的行数",
    "global_batch_size": "一个优化步的行数",
    "precision": "前向计算的精度；权重保持 fp32。auto 在 bf16 更快时使用 bf16",
    "device": "训练设备；auto 有 GPU 时用 GPU",
    "num_threads": "CPU 线程数；0 为每个可用物理核一个",
    "compile": "用 torch.compile 编译模型（需要 C 编译器）：auto 仅在 GPU 上、模型足够大时使用",
    "seed": "权重与数据顺序的随机种子",
    "checkpoint_interval_s": "检查点的时间间隔；0 为每步保存",
    "keep_checkpoints": "保留最新的几个检查点",
    "keep_best": "同时保留验证最好的检查点，并以它的权重结束",
    "early_stopping": "连续多少次验证没有改善就结束；0 为走完所有步",
    "validation_interval": "验证之间的步数；0 为只在结束时验证",
    "validation_tokens": "一次验证的最多词元数",
    "log_interval": "记录指标的步数间隔",
    "sample_interval": "让模型写文字供查看的步数间隔；0 为从不",
    "sample_prompts": "这些文字所回答（pt 阶段为续写）的提示",
    "tensorboard": "同时写出 TensorBoard 文件",
    "optimizer": "adamw；adamw_8bit 的状态只占四分之一内存；muon 让全新模型从每个词元学到更多",
    "muon_momentum": "muon：梯度平均的衰减",
    "learning_rate": "学习率峰值",
    "weight_decay": "只对矩阵衰减：每步按学习率乘以此值缩小",
    "adam_beta1": "梯度平均的衰减",
    "adam_beta2": "梯度平方平均的衰减",
    "max_grad_norm": "把梯度裁剪到此范数；0 为不裁剪",
    "schedule.kind": "预热之后的形状：余弦或直线下降，wsd（先平后降），sgdr（多次余弦），或恒定",
    "schedule.warmup_ratio": "从 0 线性上升的步数占比",
    "schedule.decay_ratio": "wsd：末尾下降的步数占比",
    "schedule.decay_shape": "wsd：下降方式，1 - √p 或直线",
    "schedule.num_cycles": "sgdr：余弦下降的次数",
    "schedule.cycle_growth": "sgdr：每个周期比前一个长多少倍",
    "schedule.min_ratio": "最终学习率占峰值的比例",
    "adapter": "none 训练全部权重；lora 在冻结的权重旁训练低秩矩阵；dora 还训练输出的长度",
    "lora_rank": "适配器矩阵的秩",
    "lora_alpha": "适配器乘以此值除以秩",
    "lora_layers": "每层哪些矩阵有适配器：全部七个，或注意力的四个",
    "base_quantization": "冻结的底模：none 保持原样；int8、int4 或 nf4（bitsandbytes，QLoRA）量化",
    "gradient_checkpointing": "只保留各层输入，反向时重算其余：省内存，时间多三分之一",
    "loss": "DPO 本身的损失，或 robust、hinge、ipo、simpo、orpo、kto；simpo 与 orpo 不需要参考模型",
    "beta": "与参考模型的联系强度；orpo 为回答对的权重，simpo 为对数概率的缩放（常用 2）",
    "label_smoothing": "sigmoid 与 robust：假定多大比例的回答对标反了",
    "sft_weight": "较好回答每词元 -log p 的权重，加在成对损失之外；夹在回答对中的对话只按它学习",
    "simpo_margin": "simpo：较好的回答须好多少（每词元的缩放 nat）",
    "kto_chosen_weight": "kto：较好回答的权重",
    "kto_rejected_weight": "kto：较差回答的权重",
    "cache_reference": "训练前一次算好参考模型的对数概率，存放在数据旁",
    "reward_margin": "较好的回答须高出多少分",
    "reward_centring": "让分数保持在零附近的项的权重；常用 0.01",
    "reward_model": "奖励模型的训练或模型文件夹",
    "num_generations": "每个提示生成的回答数",
    "max_new_tokens": "一个回答的最多词元数",
    "temperature": "抽样的温度，也是所学策略的温度",
    "rollout_batch_size": "一次同时生成的回答数；每个都需要键值缓存的内存",
    "missing_eos_penalty": "被 max_new_tokens 截断的回答要扣的奖励",
    "rollout_epochs": "每步对所生成回答的遍历次数",
    "num_minibatches": "一次遍历中的更新次数；每次用等量的提示",
    "kl_coef": "与参考模型散度的权重：ppo 从奖励中扣除，grpo 加到损失上",
    "clip_range": "新旧概率之比离 1 多远仍跟随",
    "gamma": "后来奖励的折扣",
    "gae_lambda": "1 取实际奖励，0 取价值模型的预期",
    "value_coef": "价值模型损失的权重",
    "value_clip_range": "价值离生成时的值多远仍跟随",
    "policy_loss": "clip 裁剪每个词元的比值，gspo 裁剪整个回答的比值，cispo 限制其权重而保留梯度",
    "cispo_max_ratio": "cispo 的上限",
    "grpo_aggregation": "grpo 对各回答同等加权，bnpo 对词元加权，dr_grpo 以 max_new_tokens 为分母",
    "scale_rewards": "优势以同一提示的奖励标准差为单位；关闭则保留原有尺度",
    "parallel": "多个进程时：ddp 每个进程持有整个模型，fsdp 各持一部分；auto 放不下时用 fsdp",
}


def field_label(name: str) -> str:
    """What a field is called: its own name, which errors use, in every language."""
    return name.removeprefix("schedule.")


def field_help(name: str, english: str, language: str) -> str:
    """What a field does."""
    return CHINESE_HELP.get(name, english) if language == CHINESE else english
