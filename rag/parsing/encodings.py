"""Bytes of unknown encoding → text."""

import codecs
import re

import charset_normalizer

from rag.remarks import RefusedError, Remark

BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# A superset says the same and more.
WIDER = {
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "hz": "gb18030",
    "big5": "big5hkscs",
    "cp950": "big5hkscs",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "johab": "cp949",
    "ascii": "cp1252",
    "latin_1": "cp1252",
    "iso8859_1": "cp1252",
}
DECLARED = re.compile(rb"""(?:charset|encoding)\s*=\s*["']?\s*([A-Za-z0-9_.:-]{2,40})""")
DECLARED_WITHIN = 2048
SAMPLE_BYTES = 64 * 1024
SHORT_CHARACTERS = 24  # below this, statistics of the bytes guess: words that are frequent in Chinese decide
MAX_BROKEN_SHARE = 0.002
FREQUENT = frozenset(
    "的一是不了在人有我他这这個个们們中来來上大为為和国國地到以说說时時要就出会會可也你对對生能而子那得于着著下自之年过過发發后後作里裡用道行"
    "所然家种種事成方多经經么麼去法学學如都同现現当當没沒动動面起看定天分还還进進好小部其些主样樣理心她本前开開但因只从從想实實日军軍者意无無力它"
    "与與长長把机機十民第公此已工使情明性知全三又关關点點正业業外将將两兩高间間由问問很最重并物手应應战戰向头頭文体體政美相见見被利什二等产產或新己"
    "制身果加西斯月话話合回特代内內信表化老给給世位次度门門任常先海通教儿兒原东東声聲提立及比员員解水名真论論处處走义義各入几幾口认認条條平系系气氣"
    "题題活尔爾更别別打女变變四神总總何电電数數安少报報才结結反受目太量再感建务務做接必场場件计計管期市直德资資命山金指克许許统統区區保至队隊形社便空"
    "决決治展马馬科司五基眼书書非则則听聽白却卻界达達光放强強即像难難且权權思王象完设設式色路记記南品住告类類求据據程北边邊死张張该該交规規万萬取拉格"
    "望觉覺术術领領共确確传傳师師观觀清今切院让讓识識候带帶导導争爭运運请請输輸件文本测測试試说說明您好，。、：；！？（）《》“”"
)


def decode(content: bytes) -> tuple[str, Remark | None]:
    """The text, and a note when something of it was no text.

    By its mark, then what the head of an HTML or XML file declares, then UTF-8, then statistics of the bytes.
    Raises: DocumentError when the bytes are no text.
    """
    for mark, encoding in BOMS:
        if content.startswith(mark):
            return _decode_broken(content, encoding)
    declared = _declared(content)
    for encoding in ("utf-8", *([declared] if declared else [])):
        try:
            if b"\0" not in content[:SAMPLE_BYTES]:
                return content.decode(encoding), None
        except UnicodeDecodeError:
            continue
    guessed = _guess(content)
    if guessed is None:
        raise RefusedError("unknown_encoding")
    return _decode_broken(content, guessed)


def _declared(content: bytes) -> str | None:
    """What the head of a page says its encoding is, in the form of the widest that includes it."""
    match = DECLARED.search(content[:DECLARED_WITHIN])
    if match is None or not content[:DECLARED_WITHIN].lstrip().startswith(b"<"):
        return None
    try:
        name = codecs.lookup(match[1].decode("ascii")).name.replace("-", "_")
    except (LookupError, UnicodeDecodeError):
        return None
    return None if name.startswith("utf") else WIDER.get(name, name)


def _guess(content: bytes) -> str | None:
    sample = content[:SAMPLE_BYTES]
    wide = _without_mark(sample)
    if wide:
        return wide
    if b"\0" in sample:
        return None
    if _broken_share(content, "utf-8") <= MAX_BROKEN_SHARE:
        return "utf-8"
    if sum(byte >= 0x80 for byte in sample) < 2 * SHORT_CHARACTERS and (short := _of_few_characters(sample)):
        return short
    matches = list(charset_normalizer.from_bytes(sample))  # the least messy first
    if not matches:
        return None
    likeliest = max((match for match in matches if match.chaos == matches[0].chaos), key=lambda match: match.coherence)
    return WIDER.get(likeliest.encoding, likeliest.encoding)


def _without_mark(sample: bytes) -> str | None:
    """UTF-16 or UTF-32 by where the zero bytes are, or by how few kinds of upper bytes there are."""
    if len(sample) < 4 or len(sample) % 2:
        return None
    zeros = [sample[i::4].count(0) * 4 / len(sample) for i in range(4)]
    if zeros[0] > 0.9 and zeros[1] > 0.9 and zeros[3] < 0.1:
        return "utf-32-be"
    if zeros[2] > 0.9 and zeros[3] > 0.9 and zeros[0] < 0.1:
        return "utf-32-le"
    even, odd = (zeros[0] + zeros[2]) / 2, (zeros[1] + zeros[3]) / 2
    if max(even, odd) < 0.02:
        return None
    encoding = "utf-16-be" if even > odd else "utf-16-le"
    text = sample[: len(sample) // 2 * 2].decode(encoding, "replace")
    readable = sum(character.isprintable() or character.isspace() for character in text)
    return encoding if readable > 0.97 * len(text) else None


def _of_few_characters(sample: bytes) -> str | None:
    """GB18030 or Big5 for some words of Chinese, by how many of their characters are among the frequent ones."""
    shares = {}
    for encoding in ("gb18030", "big5hkscs"):
        try:
            wide = [character for character in sample.decode(encoding) if ord(character) >= 0x80]
        except UnicodeDecodeError:
            continue
        shares[encoding] = sum(character in FREQUENT for character in wide) / max(len(wide), 1)
    best = max(shares, key=shares.__getitem__, default=None)
    return best if best and shares[best] >= 0.3 else None


def _broken_share(content: bytes, encoding: str) -> float:
    text = content.decode(encoding, "replace")
    return text.count("\ufffd") / max(len(text), 1)


def _decode_broken(content: bytes, encoding: str) -> tuple[str, Remark | None]:
    text = content.decode(encoding, "replace")
    num_broken = text.count("\ufffd")
    if num_broken > MAX_BROKEN_SHARE * len(text) + 2:
        raise RefusedError("broken_encoding", encoding=encoding, count=num_broken, total=len(text))
    return text, Remark("note_broken", {"count": num_broken}) if num_broken else None
