"""Errors in the language of the page. Their English stands where they are raised, and is the key to the Chinese here.

An error that has no Chinese yet is said in English.
"""

from typing import Any

from app.format import to_html
from app.i18n import CHINESE
from app.remarks import remark_text
from app.setting_texts import SETTING_PROBLEMS
from core.errors import AssistantError, ConfigError, Sentence, listed

IN_CHINESE: dict[str, str] = {
    # Files and databases
    "{path} is not readable JSON: {reason}.": "{path} 不是可读的 JSON：{reason}。",
    "{path} holds {found}, not an object.": "{path} 的内容是 {found}，而不是对象。",
    "Check the file's path and syntax.": "请检查文件的路径和语法。",
    "Another program is writing to the {what} in {folder}.": "另一个程序正在写入 {folder} 中的{what}。",
    "The {what} {path} has format {version}; this program knows {known} at most.":
        "{what} {path} 的格式版本是 {version}，本程序最多支持 {known}。",
    "Open it with the newer version that wrote it.": "请用写入它的较新版本打开。",
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
    **SETTING_PROBLEMS,
}  # fmt: skip


def sentence_text(sentence: str, language: str) -> str:
    """A sentence with named values in the language of the page; any other as it is."""
    if language != CHINESE:
        return sentence
    if not isinstance(sentence, Sentence):
        return IN_CHINESE.get(sentence, sentence)
    values = {name: _in_chinese(name, value) for name, value in sentence.values.items()}
    return IN_CHINESE.get(sentence.template, sentence.template).format(**values)


def _in_chinese(name: str, value: Any) -> Any:
    """A value of a sentence: other sentences in it, and what something is, are said in Chinese too."""
    if isinstance(value, Sentence) or name == "what":
        return sentence_text(value, CHINESE)
    return listed(value, "、")


def error_text(error: AssistantError, language: str) -> str:
    """What went wrong and what to do about it, without markup: it may quote documents."""
    from rag.remarks import RefusedError

    if isinstance(error, RefusedError):
        return remark_text(error.remark, language)
    if language != CHINESE:
        return str(error)
    if isinstance(error, ConfigError) and error.problems:
        problems = "；".join(sentence_text(problem, language) for problem in error.problems)
        return f"{problems}。{IN_CHINESE.get(error.remedy, error.remedy)}"
    message, remedy = (IN_CHINESE.get(sentence, sentence) for sentence in error.sentences)
    what = str(error.values.get("what", ""))
    return "".join(error.told(message, remedy, what=IN_CHINESE.get(what, what)))


def error_html(error: AssistantError, language: str) -> str:
    """The same as a paragraph."""
    return f'<p class="error">{to_html(error_text(error, language))}</p>'
