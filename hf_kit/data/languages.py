"""Which names are those of languages: `en`, `zh_CN`, `zho_Hans` and `English`, but not `src`, `csv` or `my_text`.

The codes are ISO 639's (https://iso639-3.sil.org), with a country or script behind them as mBART and NLLB write it.
"""

import re
from collections import Counter
from collections.abc import Iterable

# ISO 639-1 with its codes of three letters (ISO 639-2, terminologic and bibliographic).
_ISO = """
aa:aar ab:abk ae:ave af:afr ak:aka am:amh an:arg ar:ara as:asm av:ava ay:aym az:aze ba:bak be:bel bg:bul bh:bih bi:bis
bm:bam bn:ben bo:bod:tib br:bre bs:bos ca:cat ce:che ch:cha co:cos cr:cre cs:ces:cze cu:chu cv:chv cy:cym:wel da:dan
de:deu:ger dv:div dz:dzo ee:ewe el:ell:gre en:eng eo:epo es:spa et:est eu:eus:baq fa:fas:per ff:ful fi:fin fj:fij
fo:fao fr:fra:fre fy:fry ga:gle gd:gla gl:glg gn:grn gu:guj gv:glv ha:hau he:heb hi:hin ho:hmo hr:hrv ht:hat hu:hun
hy:hye:arm hz:her ia:ina id:ind ie:ile ig:ibo ii:iii ik:ipk io:ido is:isl:ice it:ita iu:iku ja:jpn jv:jav ka:kat:geo
kg:kon ki:kik kj:kua kk:kaz kl:kal km:khm kn:kan ko:kor kr:kau ks:kas ku:kur kv:kom kw:cor ky:kir la:lat lb:ltz lg:lug
li:lim ln:lin lo:lao lt:lit lu:lub lv:lav mg:mlg mh:mah mi:mri:mao mk:mkd:mac ml:mal mn:mon mr:mar ms:msa:may mt:mlt
my:mya:bur na:nau nb:nob nd:nde ne:nep ng:ndo nl:nld:dut nn:nno no:nor nr:nbl nv:nav ny:nya oc:oci oj:oji om:orm
or:ori os:oss pa:pan pi:pli pl:pol ps:pus pt:por qu:que rm:roh rn:run ro:ron:rum ru:rus rw:kin sa:san sc:srd sd:snd
se:sme sg:sag si:sin sk:slk:slo sl:slv sm:smo sn:sna so:som sq:sqi:alb sr:srp ss:ssw st:sot su:sun sv:swe sw:swa
ta:tam te:tel tg:tgk th:tha ti:tir tk:tuk tl:tgl tn:tsn to:ton tr:tur ts:tso tt:tat tw:twi ty:tah ug:uig uk:ukr ur:urd
uz:uzb ve:ven vi:vie vo:vol wa:wln wo:wol xh:xho yi:yid yo:yor za:zha zh:zho:chi zu:zul
"""
# Further ones that translation models speak: NLLB-200's languages without a code of two letters.
_OTHERS = """
ace acm acq aeb ajp als apc arb ars ary arz ast awa ayr azb azj ban bem bho bjn bug ceb ckb crh dik dyu fil fon fur
fuv gaz hne ilo kab kac kam kbp kea khk kmb kmr knc lij lmo ltg lua luo lus lvs mag mai min mni mos npi nso nus ory
pag pap pbt pes plt prs quy sat scn shn swh szl taq tpi tum tzm umb uzn vec war ydd zsm
"""
_BASES = {code: codes.split(":")[0] for codes in _ISO.split() for code in codes.split(":")}
_BASES |= {code: code for code in _OTHERS.split()}
# Chinese as it is written, whichever of it is spoken; and two countries whose codes stand for their languages.
_BASES |= {"cmn": "zh", "yue": "zh", "wuu": "zh", "lzh": "zh", "cn": "zh", "jp": "ja"}
_CODE = re.compile(r"([a-z]{2,3})([_-]([A-Z]{2}|[A-Z][a-z]{3}|cn|tw|hk|br|gb|us|hans|hant)){0,2}")
_WORDS = {
    "english": "en",
    "chinese": "zh",
    "mandarin": "zh",
    "japanese": "ja",
    "korean": "ko",
    "german": "de",
    "french": "fr",
    "spanish": "es",
    "portuguese": "pt",
    "italian": "it",
    "russian": "ru",
    "arabic": "ar",
    "thai": "th",
    "vietnamese": "vi",
    "英文": "en",
    "英语": "en",
    "中文": "zh",
    "汉语": "zh",
    "日文": "ja",
    "日语": "ja",
    "韩文": "ko",
    "韩语": "ko",
    "德文": "de",
    "德语": "de",
    "法文": "fr",
    "法语": "fr",
    "俄文": "ru",
    "俄语": "ru",
}


def is_language_code(name: str) -> bool:
    """A code of a known language, in the usual case of its letters: `en`, `eng_Latn`, `zh-CN`; not `EN`."""
    match = _CODE.fullmatch(name)
    return match is not None and match[1] in _BASES


def language_of(name: str) -> str | None:
    """The language that a column's name says: a code as it stands (`EN` in small letters), `zh` for `Chinese`."""
    name = name.strip()
    if name.lower() in _WORDS:
        return _WORDS[name.lower()]
    code = next((form for form in (name, name.lower()) if is_language_code(form)), None)
    return _BASES[code] if code in ("cn", "jp") else code


def base_language(name: str | None) -> str | None:
    """The shortest code of a language, to compare by: `zh` of `zh_CN`, `zho_Hans`, `cmn` and `Chinese`.

    None where no language is known by this name.
    """
    code = language_of(name) if name else None
    return None if code is None else _BASES[_CODE.fullmatch(code)[1]]


# First and last letter of scripts that one language alone writes, or nearly so.
_SCRIPTS = {
    "zh": (("\u3400", "\u4dbf"), ("\u4e00", "\u9fff")),
    "ja": (("\u3041", "\u30ff"),),
    "ko": (("\uac00", "\ud7a3"),),
    "th": (("\u0e01", "\u0e4e"),),
    "lo": (("\u0e81", "\u0ede"),),
    "km": (("\u1780", "\u17d3"),),
    "my": (("\u1000", "\u109f"),),
}


def language_by_script(texts: Iterable[str]) -> str | None:
    """`zh` where most letters are Chinese characters, `ja` where a tenth is kana; `ko`, `th`, `lo`, `km`, `my`.

    None for the scripts that many languages share, and where there are no letters.
    """
    found: Counter[str | None] = Counter()
    for text in texts:
        for letter in filter(str.isalpha, text):
            spans = ((language, span) for language, own in _SCRIPTS.items() for span in own)
            found[next((language for language, (first, last) in spans if first <= letter <= last), None)] += 1
    if not found:
        return None
    if found["ja"] > found.total() / 10:
        return "ja"
    (language, count), *_ = found.most_common(1)
    return language if count > found.total() / 2 else None
