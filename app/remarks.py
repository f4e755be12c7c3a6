"""What the library says of files, in the language of the page. The English stands in `rag.remarks`."""

from typing import TYPE_CHECKING

from app.i18n import CHINESE

if TYPE_CHECKING:
    from rag.remarks import Remark

_SAVED_ANEW = "请用原来的程序打开，另存一份后再添加。"
_OTHER_COPY = "请添加另存为 PDF、DOCX 或文本的副本。"
_LEAVE = "可以不添加它。"
_PRINT = "请在 PDF 阅读器中打印成新的 PDF 后再添加。"
_TESSERACT = "请安装 tesseract 及其语言包 chi_sim 和 eng，然后重新添加。"
_SPLIT = "请拆分后分别添加。"

IN_CHINESE: dict[str, tuple[str, str]] = {
    "unreadable": ("无法读取：{reason}。", "请检查路径和访问权限。"),
    "no_file": ("不是普通文件。", "请添加文件，或包含文件的文件夹。"),
    "file_too_large": ("文件有 {size_mb:,.0f} MB，最多读取 {most_mb:,.0f} MB。", _SPLIT),
    "changed": ("读取时文件被修改。", "请在文件不再变动时重新添加。"),
    "was_at": ("原来位于 {path}。", ""),
    "empty": ("文件是空的。", _LEAVE),
    "no_text": ("其中没有文字。", _LEAVE),
    "our_fault": ("本程序出错，无法读取。", "请查看日志文件并反馈此问题。"),
    "reader_fault": ("本程序的缺陷使其无法读取（{reason}）。", "请添加其他格式的副本，并反馈此问题。"),
    "stopped": ("读取已中止。", "请重新添加。"),
    "too_much_memory": ("读取需要超过 {most_mb:,.0f} MB 内存。", _SAVED_ANEW),
    "no_memory": ("读取所需内存超过允许的上限。", _SAVED_ANEW),
    "too_much_computing": ("读取需要超过 {seconds:.0f} 秒的计算时间。", _SAVED_ANEW),
    "too_long": ("读取超过了 {seconds:.0f} 秒。", _SAVED_ANEW),
    "broke_reader": ("文件使读取程序崩溃（状态 {status}）：它已损坏，或是恶意构造的。", _SAVED_ANEW),
    "senseless_answer": ("读取文档的进程给出了无意义的结果。", _SAVED_ANEW),
    "too_deep": ("嵌套过深，无法读取。", _SAVED_ANEW),
    "damaged": ("文件已损坏，或与文件名所示类型不符（{reason}）。", _SAVED_ANEW),
    "password": ("文件有密码保护。", "请另存一份不带密码的副本再添加。"),
    "other_kind": ("扩展名是 {suffix}，内容却是别的类型。", _OTHER_COPY),
    "archive": ("这是压缩包，程序不会打开压缩包。", "请解压后添加整个文件夹。"),
    "program": ("这是程序文件，没有文字。", _LEAVE),
    "recording": ("这是音频或视频，没有文字。", "请添加它的字幕或文字稿。"),
    "damaged_file": ("文件已损坏（{reason}）。", _SAVED_ANEW),
    "old_kind": ("不支持 {kind} 文件。", "请另存为 {better} 后再添加。"),
    "office_kind": ("不支持这种 Office 文件。", _OTHER_COPY),
    "too_many_parts": ("文件由 {count:,} 个部分组成，最多读取 {most:,} 个。", _OTHER_COPY),
    "unpacks_too_large": ("解压后有 {size_mb:,.0f} MB，最多读取 {most_mb:,.0f} MB。", _OTHER_COPY),
    "entities": ("文件声明了实体，正常的办公软件不会这样写。", _OTHER_COPY),
    "no_content": ("这个 OpenDocument 文件没有内容。", _OTHER_COPY),
    "damaged_docx": ("DOCX 文件已损坏：{reason}", _OTHER_COPY),
    "damaged_pptx": ("PPTX 文件已损坏（{reason}）。", _OTHER_COPY),
    "damaged_xls": ("无法读取这个 Excel 文件（{reason}）。", "请另存为 XLSX 后再添加。"),
    "damaged_table": ("不是可读的表格（{reason}）。", "请另存为 CSV 后再添加。"),
    "damaged_xml": ("XML 已损坏（{reason}）。", _OTHER_COPY),
    "no_chapters": ("这个 EPUB 没有章节目录。", _OTHER_COPY),
    "too_much_text": ("文字超过 {most:,} 个字符。", _SPLIT),
    "unknown_encoding": ("不是已知编码的文本。", "请添加以 UTF-8、PDF 或 DOCX 保存的副本。"),
    "broken_encoding": (
        "看起来是 {encoding} 文本，但 {total:,} 个字符中有 {count:,} 个已损坏。",
        "请另存为 UTF-8 后再添加。",
    ),
    "damaged_pdf": ("PDF 已损坏，无法打开。", _PRINT),
    "no_pages": ("这个 PDF 没有页面。", _LEAVE),
    "too_many_pages": ("文件有 {count:,} 页，最多读取 {most:,} 页。", "请拆分后再添加。"),
    "broken_pages": ("PDF 已损坏：{total} 页中有 {count} 页无法打开。", _PRINT),
    "pictures": ("只有图片，没有文字（{total} 页中有 {count} 页）。", _TESSERACT),
    "pictures_without_text": ("只有图片，tesseract 未能识别出文字。", _LEAVE),
    "pages_without_text": ("{total} 页上都没有文字。", _LEAVE),
    "no_tesseract": ("这是图片，识别文字需要 tesseract，但尚未安装。", _TESSERACT),
    "picture_too_large": ("图片有 {width:,} × {height:,} 像素，最多读取 {most:,} 像素。", "请缩小后再添加。"),
    "nothing_to_show": ("没有可显示的页面。", "请改为查看文字。"),
    "no_such_page": ("共有 {total} 页，没有第 {page} 页。", "请选择其中一页。"),
    "note_images": ("只有图片：{total} 页中的 {count} 页", ""),
    "note_odd_text": ("文字层损坏，字体未给出字符：{total} 页中的 {count} 页", ""),
    "note_recognised": ("由 tesseract 识别：{total} 页中的 {count} 页", ""),
    "note_picture": ("由 tesseract 识别", ""),
    "note_no_tesseract": ("未安装 tesseract；安装后也能读取图片中的文字", ""),
    "note_tesseract_nothing": ("tesseract 未能在其中识别出文字", ""),
    "note_damaged": ("已损坏：{total} 页中的 {count} 页", ""),
    "note_broken": ("{count} 个损坏的字符", ""),
    "note_json": ("不是有效的 JSON（{reason}），已按纯文本读取", ""),
    "note_xml": ("XML 已损坏（{reason}），已按网页读取", ""),
    "note_book": ("书中有部分内容已加密", ""),
    "note_attachments": ("未读取附件：{names}", ""),
    "said": ("{text}", ""),
}  # fmt: skip


def remark_text(remark: "Remark", language: str) -> str:
    """A remark as a sentence, without markup: it quotes documents, and is escaped where it is shown."""
    if language != CHINESE:
        return str(remark)
    return remark.told(*IN_CHINESE[remark.code], colon="：", gap="")
