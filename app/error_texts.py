"""Errors in the language of the page. Their English stands where they are raised, and is the key to the Chinese here.

An error that has no Chinese yet is said in English.
"""

from typing import Any

from app.format import to_html
from app.i18n import CHINESE
from app.model_error_texts import MODEL_ERRORS
from app.remarks import remark_text
from app.setting_texts import SETTING_PROBLEMS
from app.training_error_texts import TRAINING_ERRORS
from core.errors import AssistantError, Sentence

IN_CHINESE: dict[str, str] = {
    **MODEL_ERRORS,
    **TRAINING_ERRORS,
    # The page
    "Nothing is fetched from the network here.": "此处不会从网络获取任何内容。",
    "Give the file itself.": "请直接提供文件。",
    "{name} is {value}, not a {wanted}": "{name} 的值是 {value}，类型应为 {wanted}",
    "{name} is {value}, it must be in 0 … {most}": "{name} 的值是 {value}，应在 0 到 {most} 之间",
    "{path}: {problems}.": "{path}：{problems}。",
    "Mend it, or delete it: the usual settings are taken then.": "请修正或删除它；删除后使用默认设置。",
    "The speed of this machine could not be measured ({reason}).": "无法测量本机速度（{reason}）。",
    "Run `python launch.py doctor --measure`, which says why.": "请运行 `python launch.py doctor --measure` 查看原因。",
    # Models that are here
    "A name has at most {most} characters, this one {count}.": "名称最多 {most} 个字符，这个有 {count} 个。",
    "Shorten it.": "请缩短。",
    "{name} is not in the models folder.": "{name} 不在模型文件夹中。",
    "Delete a run in the studio.": "训练请在训练工坊中删除。",
    "This is not in the trash any more.": "它已不在回收站中。",
    "There is another {name} in the models folder.": "模型文件夹中已有另一个 {name}。",
    "Delete that one first.": "请先删除那一个。",
    "{name} cannot be moved: {reason}.": "无法移动 {name}：{reason}。",
    "Close what uses it.": "请关闭正在使用它的程序。",
    "The model has left memory since nobody asked it.": "模型因长时间无人提问，已移出内存。",
    "Ask again once it is loaded.": "请在加载后再问。",
    "{name} has no earlier version.": "{name} 没有更早的版本。",
    "There is nothing to roll back to.": "没有可以回退的版本。",
    "{path} is damaged: {reason}.": "{path} 已损坏：{reason}。",
    "Delete it: every model then answers as it is.": "请删除它；之后各模型按原样回答。",
    # Preferences
    "There is no second version to compare.": "没有可供对比的第二个版本。",
    "Improve the model from your pairs first.": "请先用您的偏好改进模型。",
    "This is no conversation that ends with a question.": "此对话不是以问题结束的。",
    "Rate the answer to a question.": "请评价对某个问题的回答。",
    "Rate answers in that one, or close it.": "请在那个程序中评价回答，或关闭它。",
    "Move it away and put the newest copy out of the folder backups in its place.":
        "请移走它，并把 backups 文件夹中最新的副本放到原处。",
    "An empty answer teaches nothing.": "空的回答没有可学的内容。",
    "Write what the model should have said.": "请写出模型本应给出的回答。",
    "{count} answers cannot be ranked.": "无法给 {count} 个回答排序。",
    "Rank 2 to {most}.": "请给 2 到 {most} 个回答排序。",
    "Ask for 2 to {most}.": "请生成 2 到 {most} 个回答。",
    "Two of these answers are equal.": "其中有两个回答相同。",
    "Leave one of them out.": "请去掉其中一个。",
    "A pair needs two different answers.": "一对偏好需要两个不同的回答。",
    "Write a better and a worse one.": "请写出较好和较差的各一个。",
    "There is no pair {number}.": "没有第 {number} 对。",
    "It was deleted: look at the list again.": "它已被删除，请重新查看列表。",
    # Personas
    "{name!r} is no name for a persona.": "{name!r} 不能用作角色名称。",
    "Take 1 to {most} characters.": "请使用 1 到 {most} 个字符。",
    "The system prompt of {name!r} has {size:,} characters.": "{name!r} 的系统提示有 {size:,} 个字符。",
    "Keep it below {most:,}.": "请控制在 {most:,} 个以内。",
    "{name!r} is no setting of a persona.": "{name!r} 不是角色的设置项。",
    "Take: {names}.": "可用的有：{names}。",
    "{name} is built in and stays as it is.": "{name} 是内置角色，不能更改。",
    "Copy it and change the copy.": "请复制后更改副本。",
    "This persona is not there any more.": "此角色已不存在。",
    "Choose another one.": "请选择其他角色。",
    "{path} holds no personas of format {version}.": "{path} 中没有格式 {version} 的角色。",
    "There are {count} personas already.": "已有 {count} 个角色。",
    "Delete one that is not needed.": "请删除不需要的角色。",
    "{path} holds a bad persona: {reason}": "{path} 中有一个角色有误：{reason}",
    "Repair it, or move it away to begin anew.": "请修复它，或移走它重新开始。",
    # The token inspector
    "Row {row} is no example: {reason}.": "第 {row} 行不是样本：{reason}。",
    "Choose another row.": "请选择其他行。",
    "Row {row} is {found} data, and stage {stage} learns from {known}.":
        "第 {row} 行是 {found} 数据，而 {stage} 阶段使用 {known} 数据。",
    "Choose another row or another stage.": "请选择其他行或其他阶段。",
    "The prompts of the pair differ.": "这一对的提示不同。",
    "Use a chat template that puts the answer last.": "请使用把回答放在最后的对话模板。",
    # Files and databases
    "{path} is not readable JSON: {reason}.": "{path} 不是可读的 JSON：{reason}。",
    "{path} holds {found}, not an object.": "{path} 的内容是 {found}，而不是对象。",
    "Check the file's path and syntax.": "请检查文件的路径和语法。",
    "Another program is writing to the {what} in {folder}.": "另一个程序正在写入 {folder} 中的{what}。",
    "The {what} {path} has format {version}; this program knows {known} at most.":
        "{what} {path} 的格式版本是 {version}，本程序最多支持 {known}。",
    "Open it with the newer version that wrote it.": "请用写入它的较新版本打开。",
    "{path} cannot be written: {reason}.": "无法写入 {path}：{reason}。",
    "The {what} {path} cannot be read or written: {reason}.": "无法读写{what} {path}：{reason}。",
    "Check the disk's free space and the permissions.": "请检查磁盘剩余空间和访问权限。",
    "The {what} {path} is damaged: {reason}.": "{what} {path} 已损坏：{reason}。",
    "library": "资料库",
    "Close it, or wait until it is done. Searching works meanwhile.": "请关闭它，或等待它完成；其间仍可检索。",
    "Move the folder away and add your files again: the library holds nothing that is not in them.":
        "请移走该文件夹，然后重新添加文件：资料库中的内容都来自这些文件。",
    "The SQLite {version} of this Python has no full-text search (FTS5).":
        "此 Python 自带的 SQLite {version} 没有全文检索功能（FTS5）。",
    "Install Python from python.org, conda or uv: theirs has it.":
        "请安装来自 python.org、conda 或 uv 的 Python，它们带有此功能。",
    "An error in this program ended the work.": "本程序出错，工作已中止。",
    "See the log file, and report this.": "请查看日志文件并反馈此问题。",
    # Conversations
    "store of conversations": "对话库",
    "Chat in that one, or close it.": "请在那个程序中对话，或关闭它。",
    "Move it away and put the newest copy out of the folder backups in its place, as conversations.db.":
        "请移走它，并把 backups 文件夹中最新的副本放到原处，命名为 conversations.db。",
    "This conversation is not there any more.": "此对话已不存在。",
    "Open another one, or begin a new one.": "请打开其他对话，或开始新对话。",
    "An answer is still being made in this conversation.": "此对话中的回答尚未结束。",
    "Stop it, or wait until it has ended.": "请停止它，或等待它结束。",
    "There is no message {number}.": "没有第 {number} 号消息。",
    "It was deleted: look at the conversation again.": "它已被删除，请重新查看对话。",
    "Message {number} follows one that is not there.": "第 {number} 条消息的上一条不存在。",
    "Export it again.": "请重新导出。",
    "{name!r} ({size:,} bytes) cannot be read as conversations.": "{name!r}（{size:,} 字节）不能作为对话读取。",
    "Give .json, .jsonl or .md of at most {most:,} bytes.": "请提供不超过 {most:,} 字节的 .json、.jsonl 或 .md 文件。",
    "{name!r} cannot be read as JSON: it is wrong in line {line}, column {column}.": (
        "{name!r} 不能作为 JSON 读取：第 {line} 行第 {column} 列有误。"
    ),
    "{name!r} is no file of conversations: {reason}.": "{name!r} 不是对话文件：{reason}。",
    "{name!r} holds no conversation.": "{name!r} 中没有对话。",
    # Archives
    "{path} is no archive of AstrAI: {reason}.": "{path} 不是 AstrAI 的备份文件：{reason}。",
    "Give a file that `backup` wrote.": "请提供由备份功能写出的文件。",
    "Restoring needs {needed:,} bytes and {free:,} are free.": "恢复需要 {needed:,} 字节，剩余 {free:,} 字节。",
    "Free some space and try again.": "请腾出空间后重试。",
    "A backup is being made already.": "正在备份。",
    "Wait for it.": "请等待它完成。",
    "The file has {needed:,} bytes, and {free:,} are free on this disk.":
        "文件有 {needed:,} 字节，磁盘只剩 {free:,} 字节。",
    "AstrAI is running on these data.": "AstrAI 正在使用这些数据。",
    "End it, and start it again: what was staged is restored then.": "请结束后重新启动，届时将完成恢复。",
    # Documents and collections
    "{path} is no folder.": "{path} 不是文件夹。",
    "Choose a folder that is there.": "请选择存在的文件夹。",
    "{path} is not there.": "{path} 不存在。",
    "Give the whole path of a file or a folder.": "请填写文件或文件夹的完整路径。",
    "{name!r} is no name for a collection.": "{name!r} 不能用作资料集名称。",
    "Give 1 to {most} characters.": "请填写 1 到 {most} 个字符。",
    "The collection {name} has {count} documents.": "资料集 {name} 中还有 {count} 个文档。",
    "Move or remove them first.": "请先移动或移除它们。",
    "There is no collection {name!r}; there are: {names}.": "没有资料集 {name!r}；现有：{names}。",
    "Choose one of these.": "请从中选择。",
    "Nothing was asked of the documents.": "没有向文档提出问题。",
    "End the conversation with a question.": "请以一个问题结束对话。",
    "The file of this passage is gone.": "此段落所在的文件已不存在。",
    "Add the file again, or remove the document.": "请重新添加该文件，或移除此文档。",
    "{name} changed since it was read.": "{name} 在读取之后被修改过。",
    "Add it again.": "请重新添加。",
    "Document {number} has no text here.": "此处没有第 {number} 号文档的文字。",
    "Add its file again.": "请重新添加其文件。",
    "This document is not in the library any more.": "此文档已不在资料库中。",
    "Search again.": "请重新检索。",
    "{name} changed since this was written.": "{name} 在写下此引用之后被修改过。",
    "Ask again.": "请重新提问。",
    "{date!r} is no date.": "{date!r} 不是日期。",
    "Write it as {example}.": "请写成 {example} 的形式。",
    "{name!r} is no name for a file.": "{name!r} 不能用作文件名。",
    "Rename it and drop it again.": "请改名后重新拖入。",
    "{name} has over {most:,} bytes.": "{name} 超过 {most:,} 字节。",
    "Give its folder by its path.": "请改用路径添加其所在文件夹。",
    "A weight of meaning of {weight} makes no sense.": "语义的权重不能是 {weight}。",
    "Give a number from 0 to {most}.": "请填写 0 到 {most} 之间的数。",
    "There are {most} files already.": "已有 {most} 个附件。",
    "Ask about these first, or add more to the library.": "请先就这些文件提问，或把更多文件加入资料库。",
    "{name} has {count:,} characters, over {most:,}.": "{name} 有 {count:,} 个字符，超过 {most:,} 个。",
    "Add it to the library.": "请把它加入资料库。",
    "{name} has no text.": "{name} 中没有文字。",
    "Attach another file.": "请改用其他文件。",
    # Embedders
    "Delete it, and choose the embedder again.": "请删除它，然后重新选择嵌入模型。",
    "{folder} is {found}, not {wanted} 1.": "{folder} 是 {found}，而不是 {wanted} 1。",
    "{file} has {count} columns, not {wanted}.": "{file} 有 {count} 列，而不是 {wanted} 列。",
    "{path} cannot be read: {reason}.": "无法读取 {path}：{reason}。",
    "{file} holds {shapes}, not int8 (V, D) and float16 (V,).":
        "{file} 的内容是 {shapes}，而不是 int8 (V, D) 和 float16 (V,)。",
    "{file} has {rows} rows for {tokens} tokens.": "{file} 有 {rows} 行，对应的词元却有 {tokens} 个。",
    "{file} has {count} scales not finite.": "{file} 中有 {count} 个缩放系数不是有限数。",
    "Clone the repository again, or choose another embedder.": "请重新克隆仓库，或选择其他嵌入模型。",
    "{folder} is missing: the embedder of the library.": "缺少资料库的嵌入模型 {folder}。",
    "Clone the repository again.": "请重新克隆仓库。",
    "{folder} is no folder.": "{folder} 不是文件夹。",
    "Give an embedder's folder, or a hub name like owner/name.":
        "请填写嵌入模型的文件夹，或 owner/name 形式的模型名称。",
    "{folder} cannot be loaded: {reason}": "无法加载 {folder}：{reason}",
    "{folder} does not say how long its vectors are.": "{folder} 没有说明向量的长度。",
    "The embedder gives vectors that are not finite.": "嵌入模型给出的向量含有非有限数。",
    "Choose another embedder.": "请选择其他嵌入模型。",
    "The embedder {name} is not on this machine.": "本机没有嵌入模型 {name}。",
    "Check the name and download it, or give the folder of a model.": "请检查名称并下载，或填写模型所在文件夹。",
    "{folder} has no safetensors file.": "{folder} 中没有 safetensors 文件。",
    "{path} is a pickle, which can run anything when it is read.": "{path} 是 pickle 文件，读取时可能执行任意代码。",
    "{path} is no list of modules: {reason}.": "{path} 不是模块列表：{reason}。",
    "{path} names the module {module!r}, which is not sentence-transformers' own.":
        "{path} 引用了模块 {module!r}，它不属于 sentence-transformers。",
    "{path} names the folder {place!r}, outside of the model.": "{path} 引用了模型之外的文件夹 {place!r}。",
    "Choose a sentence-transformers model whose weights are safetensors.":
        "请选择以 safetensors 存储权重的 sentence-transformers 模型。",
    "{name} is no file of a model.": "{name} 不是模型文件。",
    "Give a GGUF file, or a folder with config.json, the tokenizer's files and safetensors; unpack an archive first.":
        "请提供 GGUF 文件，或包含 config.json、分词器文件和 safetensors 的文件夹；压缩包请先解压。",
    # Downloads
    "{name} is being downloaded already.": "{name} 正在下载。",
    "Wait for that one.": "请等待它完成。",
    "The download needs {needed}, the disk of {folder} has {free} free.":
        "下载需要 {needed}，而 {folder} 所在磁盘只剩 {free}。",
    "Free some space, or choose a folder on another disk.": "请腾出空间，或选择另一块磁盘上的文件夹。",
    "The disk of {folder} is full ({reason}).": "{folder} 所在磁盘已满（{reason}）。",
    "Free some space and start again; it goes on where it stopped.": "请腾出空间后重新开始，下载会从中断处继续。",
    "{folder} cannot be written: {reason}.": "无法写入 {folder}：{reason}。",
    "Choose a folder that you may write to.": "请选择您有写入权限的文件夹。",
    "{name} is a GGUF file, which is no embedder.": "{name} 是 GGUF 文件，不是嵌入模型。",
    "Give OWNER/NAME alone.": "请只填写 OWNER/NAME。",
    "{folder} cannot be used: {reason}.": "无法使用 {folder}：{reason}。",
    "{folder} holds something else than {name}.": "{folder} 中的内容不是 {name}。",
    "Choose a new folder, or remove that one.": "请选择新的文件夹，或移除该文件夹。",
    "The download of {name} was cancelled.": "{name} 的下载已取消。",
    "The download ended by itself (status {status}).": "下载进程自行结束（状态 {status}）。",
    "The download ended unexpectedly ({reason}).": "下载意外中止（{reason}）。",
    "Start again; it goes on where it stopped.": "请重新开始，下载会从中断处继续。",
    "{name} cannot be downloaded as {what!r}.": "{name} 不能作为 {what!r} 下载。",
    "Choose one of {kinds}.": "请从 {kinds} 中选择。",
    "There is no download of {name}.": "没有 {name} 的下载任务。",
    "Look at the list again.": "请重新查看列表。",
    "{name} has no {missing}.": "{name} 中没有 {missing}。",
    "Choose another model or revision.": "请选择其他模型或版本。",
    "{name} has no file {missing}.": "{name} 中没有文件 {missing}。",
    "It has {files}.": "其中有 {files}。",
    "{name} has no {first} or {second}.": "{name} 中没有 {first} 或 {second}。",
    "Choose a model that brings its tokenizer.": "请选择自带分词器的模型。",
    "{name} holds GGUF files.": "{name} 中是 GGUF 文件。",
    "Name one, as {name}:FILE.gguf: {files}.": "请指定其中一个，写成 {name}:FILE.gguf：{files}。",
    "{name} has its weights only as a pickle ({file}), which can run code.":
        "{name} 的权重只有 pickle 格式（{file}），它可能执行代码。",
    "Choose a version of the model in safetensors.": "请选择该模型的 safetensors 版本。",
    "Choose a model in Hugging Face form with safetensors.": "请选择带有 safetensors 的 Hugging Face 格式模型。",
    "config.json is not readable JSON.": "config.json 不是可读的 JSON。",
    "config.json holds no object.": "config.json 的内容不是对象。",
    "The model is quantised as {method!a}, which is not supported.": "不支持 {method!a} 量化的模型。",
    "Choose the unquantised model; it is quantised here on loading.": "请选择未量化的模型，加载时会在本机量化。",
    "The hub's answer makes no sense: {reason}.": "模型站的应答不合理：{reason}。",
    "Do not trust this model, or look at HF_ENDPOINT.": "请勿信任此模型，或检查 HF_ENDPOINT。",
    "{name!r} is not the name of a model on the hub.": "{name!r} 不是模型站上的模型名称。",
    "Write it as OWNER/NAME, or OWNER/NAME:FILE.gguf for one GGUF file.":
        "请写成 OWNER/NAME，或用 OWNER/NAME:FILE.gguf 指定一个 GGUF 文件。",
    "{name!r} cannot be a revision.": "{name!r} 不能作为版本。",
    "Give a branch, a tag or a commit of 40 hexadecimal digits.": "请填写分支、标签，或 40 位十六进制的提交号。",
    "HF_TOKEN holds characters that no token has.": "HF_TOKEN 含有令牌中不会出现的字符。",
    "Set it again, without line breaks.": "请重新设置，不要带换行。",
    "HF_ENDPOINT is {address!r}.": "HF_ENDPOINT 是 {address!r}。",
    "Set it to the https:// address of a hub.": "请设为模型站的 https:// 地址。",
    "HF_ENDPOINT is {address}, and HF_TOKEN would be sent there unencrypted.":
        "HF_ENDPOINT 是 {address}，HF_TOKEN 会以明文发送到那里。",
    "Use an https:// address, or unset HF_TOKEN.": "请使用 https:// 地址，或取消 HF_TOKEN。",
    "What answers at {address} is no hub: its answer is no JSON.": "{address} 不是模型站：应答不是 JSON。",
    "Look at HF_ENDPOINT.": "请检查 HF_ENDPOINT。",
    "{file} is said to have {size:,} bytes, at most {most:,} make sense.":
        "{file} 声称有 {size:,} 字节，合理的上限是 {most:,} 字节。",
    "Do not trust it.": "请勿信任它。",
    "The hub's answer about {name} is longer than {most:,} bytes.": "模型站关于 {name} 的应答超过 {most:,} 字节。",
    "The hub redirects more than {most} times.": "模型站的重定向超过 {most} 次。",
    "Try later, or look at HF_ENDPOINT.": "请稍后再试，或检查 HF_ENDPOINT。",
    "The hub redirects to an address that is none.": "模型站重定向到了无效的地址。",
    "The hub at {address} redirects to {scheme}://{host!a}, which is not followed.":
        "模型站 {address} 重定向到 {scheme}://{host!a}，程序不会跟随。",
    "Set HF_ENDPOINT to the address of the hub itself.": "请把 HF_ENDPOINT 设为模型站本身的地址。",
    "{name} is only for those who were given access, HF_TOKEN has no access to it.":
        "{name} 仅对获得授权者开放，而 HF_TOKEN 没有权限。",
    "{name} is only for those who were given access, and HF_TOKEN is not set.":
        "{name} 仅对获得授权者开放，而 HF_TOKEN 尚未设置。",
    "Ask for it at {page}, make a token at https://huggingface.co/settings/tokens and set HF_TOKEN to it.":
        "请在 {page} 申请授权，在 https://huggingface.co/settings/tokens 创建令牌并设为 HF_TOKEN。",
    "{page}/commits/main shows what there is.": "{page}/commits/main 列出了现有内容。",
    "There is no model {name} at {address}, or not for everyone.": "{address} 上没有模型 {name}，或者它不公开。",
    "Check the name; if it is private or gated, set HF_TOKEN to a token that may read it.":
        "请检查名称；如果它是私有或受限的，请把 HF_TOKEN 设为有读取权限的令牌。",
    "The hub answers with status {status}.": "模型站的应答状态是 {status}。",
    "The hub at {address} is too busy ({reason}).": "模型站 {address} 太忙（{reason}）。",
    "Wait a little and start again; it goes on where it stopped.": "请稍候再重新开始，下载会从中断处继续。",
    "The certificate of {address} was not accepted.": "{address} 的证书未通过验证。",
    "Behind a proxy that opens TLS, set SSL_CERT_FILE to its certificate.":
        "如果经过会解开 TLS 的代理，请把 SSL_CERT_FILE 设为它的证书。",
    "{address} did not answer within {seconds} s, {times} times.":
        "{address} 连续 {times} 次在 {seconds} 秒内没有应答。",
    "{address} cannot be reached.": "无法连接 {address}。",
    "Check the network, HF_ENDPOINT and the proxy, and start again; it goes on where it stopped.":
        "请检查网络、HF_ENDPOINT 和代理后重新开始，下载会从中断处继续。",
    "{address} breaks off again and again.": "{address} 反复中断连接。",
    "{file} is not what the hub's list says: {size:,} of {total:,} bytes came, of SHA-256 {found}…, and the list"
    " has {expected}":
        "{file} 与模型站的清单不符：收到 {size:,} / {total:,} 字节，SHA-256 为 {found}…，清单中是 {expected}",
    "Start again; if it stays so, the hub or a proxy serves changed files.":
        "请重新开始；如果仍然如此，说明模型站或代理提供的文件被改动过。",
    **SETTING_PROBLEMS,
    # Models of this disk
    "{path} is not a folder.": "{path} 不是文件夹。",
    "Give the path of a folder that holds a model, or of a GGUF file.": "请填写模型文件夹或 GGUF 文件的路径。",
    "{folder} holds {count} GGUF models: {names}.": "{folder} 中有 {count} 个 GGUF 模型：{names}。",
    "Give the path of one of them.": "请填写其中一个的路径。",
    "{name} is not a folder here and not in the hub's cache, and nothing is downloaded by itself.":
        "{name} 不是本机的文件夹，也不在下载缓存中；本程序不会自行下载。",
    "Get it with `python launch.py download {name}`.": "请用 `python launch.py download {name}` 下载。",
    "{folder} has no {name}, but a download that did not end: {half}.":
        "{folder} 中没有 {name}，但有一个未完成的下载：{half}。",
    "Start the download again; it goes on where it stopped.": "请重新开始下载，它会从中断处继续。",
    "{folder} has no {name}.": "{folder} 中没有 {name}。",
    "Choose a folder that holds a model.": "请选择存放模型的文件夹。",
    "{name} in {folder} is a link to {target}, outside the folder.":
        "{folder} 中的 {name} 是指向文件夹之外 {target} 的链接。",
    "Put the file itself there, if you trust it.": "如果信任该文件，请把文件本身放到那里。",
    "{folder} has its weights as a pickle ({name}), which can run code.":
        "{folder} 的权重是 pickle 文件（{name}），可能会执行代码。",
    "Use a version of the model in safetensors.": "请使用该模型的 safetensors 版本。",
    "{path} names no weight files.": "{path} 没有列出任何权重文件。",
    "Download the model folder again.": "请重新下载模型文件夹。",
    "{name} points outside its folder or to a file that is not safetensors: {file}.":
        "{name} 指向文件夹之外，或指向非 safetensors 文件：{file}。",
    "Do not use this model.": "请不要使用此模型。",
    "{folder} lacks {count} of {total} weight files: {names}. Unfinished: {unfinished}.":
        "{folder} 缺少 {total} 个权重文件中的 {count} 个：{names}。其中 {unfinished} 个未下载完。",
    "{folder} lacks {count} of {total} weight files: {names}.":
        "{folder} 缺少 {total} 个权重文件中的 {count} 个：{names}。",
    "Download the missing files.": "请下载缺少的文件。",
    "{path} points outside its folder: {names}.": "{path} 指向文件夹之外：{names}。",
    "{path} lacks {names}.": "{path} 缺少 {names}。",
    "Use an earlier checkpoint.": "请使用更早的检查点。",
    "{name} is one of {count} parts, and its name does not say which.":
        "{name} 是 {count} 个分片之一，但文件名没有说明是第几个。",
    "Give the files back their names.": "请恢复这些文件原来的名称。",
    "{missing} of {count} parts are missing: {name}.": "{count} 个分片中缺少 {missing} 个：{name}。",
    "Download the missing parts.": "请下载缺少的分片。",
    "{name} is no regular file.": "{name} 不是普通文件。",
    "Choose a GGUF file.": "请选择 GGUF 文件。",
    "{name} is {size} bytes, too short for a GGUF file.": "{name} 只有 {size} 字节，不可能是 GGUF 文件。",
    "Download it again.": "请重新下载。",
    "{name} ({size:,} bytes) is not a whole GGUF file: {reason}.":
        "{name}（{size:,} 字节）不是完整的 GGUF 文件：{reason}。",
    "{key} differs between layers.": "{key} 在各层之间不同。",
    "{key} is {value}, not a number.": "{key} 的值是 {value}，而不是数。",
    "Use another file of this model.": "请使用此模型的其他文件。",
    "{name} holds a model of {architecture!r}.": "{name} 中的模型是 {architecture!r}。",
    "Use one of: {known}.": "请使用以下之一：{known}。",
    "{name} has no token_embd.weight, so it is no whole model.": "{name} 中没有 token_embd.weight，不是完整的模型。",
    "Use the safetensors folder of this model.": "请使用此模型的 safetensors 文件夹。",
    "{name} is a mixture of {count} experts (MoE).": "{name} 是由 {count} 个专家组成的混合模型（MoE）。",
    "Use a dense one.": "请使用稠密模型。",
    "{name} is {value}, a head has {size}.": "{name} 的值是 {value}，而每个注意力头是 {size}。",
    "{name} {found!r} is not supported.": "不支持 {name} {found!r}。",
    "{name} cannot be right: {reason}": "{name} 有误：{reason}",
    "{name} is not Llama 3's scaling, which is the only one known.": "{name} 不是 Llama 3 的缩放方式，只支持这一种。",
    "{name} is of the type {found}, which cannot be read.": "{name} 的类型是 {found}，无法读取。",
    "The copy needs {needed:.1f} GB, {free:.1f} GB are free.": "复制需要 {needed:.1f} GB，磁盘只剩 {free:.1f} GB。",
    "Free some space.": "请腾出一些空间。",
    "{name} is an adapter, which needs its base.": "{name} 是适配器，需要与其基础模型一起使用。",
    "Merge it first: export --to hf.": "请先合并：export --to hf。",
    "{name} judges answers and writes none.": "{name} 只给回答打分，不会写回答。",
    "Choose a model that writes.": "请选择会写回答的模型。",
    "{path} cannot be copied: {reason}.": "无法复制 {path}：{reason}。",
    "Another model is being added.": "正在添加另一个模型。",
    "Wait for it, or cancel it.": "请等待它完成，或取消它。",
    "The model could not be added ({found}).": "无法添加此模型（{found}）。",
    "The log file tells more.": "详情见日志文件。",
    "The model broke the program that checks it (status {status}).": "此模型使检查它的程序崩溃（状态 {status}）。",
}  # fmt: skip


def sentence_text(sentence: str, language: str) -> str:
    """A sentence with named values in the language of the page; any other as it is."""
    if language != CHINESE:
        return sentence
    if not isinstance(sentence, Sentence):
        return IN_CHINESE.get(sentence, sentence)
    template = IN_CHINESE.get(sentence.template, sentence.template)
    values = {name: _in_chinese(name, value) for name, value in sentence.values.items()}
    return template.format(**values) if values else template


def _in_chinese(name: str, value: Any) -> Any:
    """A value of a sentence: other sentences in it, and what something is, are said in Chinese too."""
    if isinstance(value, Sentence) or name == "what":
        return sentence_text(value, CHINESE)
    if isinstance(value, tuple):
        of_sentences = any(isinstance(one, Sentence) for one in value)
        return ("；" if of_sentences else "、").join(
            sentence_text(one, CHINESE) if of_sentences else one for one in value
        )
    return value


def error_text(error: AssistantError, language: str) -> str:
    """What went wrong and what to do about it, without markup: it may quote documents."""
    from rag.remarks import RefusedError

    if isinstance(error, RefusedError):
        return remark_text(error.remark, language)
    if language != CHINESE:
        return str(error)
    message, remedy = (IN_CHINESE.get(sentence, sentence) for sentence in error.sentences)
    values = {name: _in_chinese(name, value) for name, value in error.values.items()}
    return "".join(error.told(message, remedy, **values))


def error_html(error: AssistantError, language: str) -> str:
    """The same as a paragraph."""
    return f'<p class="error">{to_html(error_text(error, language))}</p>'
