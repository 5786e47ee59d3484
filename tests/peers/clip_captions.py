"""Captions of every sort that a tokenizer may meet, decided by a seed."""

import random
import unicodedata

TAGS = ("1girl solo long_hair blue_eyes masterpiece best_quality (red:1.2) <lora:style_v2:0.8> v1.5 4k 35mm f/1.8 sks ohwx :3 ^_^ o_o >_< "
        "absurdres 2024 3d u.s.a. rock'n'roll e-mail C++ #hashtag @user 50% $9.99 1,000,000 https://example.com/a?b=c&d=e").split()
WORDS = ("a the photo painting of cat dog woman standing under Tree at SUNSET highly detailed Portrait by café naïve Ångström façade coöperate Straße "
         "GROẞE İstanbul ISPARTA ŉgoma ǅungla ὈΔΥΣΣΕΎΣ ΣΊΣΥΦΟΣ ΟΔΟΣ Ωmega ﬁne ﬀect Ⅷ ½ x² H₂O №5 ſtreet Kelvin Åse ᏣᎳᎩ Ⴀბგ Москва́ ЁЛКА їжак Đặng "
         "Nguyễn").split()
CONTRACTIONS = ("it's don't I'm they'll we've you're he'd IT'S DON'T they'LL 'tis rock'n'roll it’s don’t y'all'd've o'clock 's 't '' ''' 'S "
                "it'story dogs' x'ſ 'Re").split()
SCRIPTS = ["猫が座っている写真", "一只可爱的小狗", "고양이 사진", "صورة قطة جميلة", "תמונה של חתול", "รูปแมว", "बिल्ली की तस्वीर", "பூனை", "ក្រុងភ្នំពេញ",
           "ᠮᠣᠩᠭᠣᠯ", "𝔉𝔯𝔞𝔨𝔱𝔲𝔯", "𐐔𐐯𐐑𐐨", "ﷺ", "٠١٢٣", "ｆｕｌｌｗｉｄｔｈ　ＴＥＸＴ", "ｶﾞ", "㍿"]
EMOJI = ["😀", "👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇩🇪🇫🇷", "❤️", "🧑🏿‍🚀", "1️⃣", "☺", "🫠", "✨🎨", "\u200d", "\ufe0f"]
MARKS = ["e\u0301", "a\u0323\u0302", "a\u0302\u0323", "o\u0308\u0304", "\u0301", "n\u0303\u0303", "\u1112\u1161\u11ab", "\u1100\u1161", "\uac00\u11a8",
         "か\u3099", "\u0915\u093c", "\u05e9\u05c1\u05bc", "\u0627\u0653", "q\u0307\u0323", "\u212b", "\u2126", "\uf900", "I\u0307", ">\u0338", "Z͑ͫ̓ͪ̂"]
SPACES = [" ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u3000", "\u2003", "\u2028", "\u0085", "\u202f", "\u1680", "\x0b", "\x0c", "\u200b", "\u180e", "\u2060",
          "\ufeff", "\x1c", "\x1f"]
CONTROLS = ["\x00", "\x01", "\x07", "\x1b[31m", "\x7f", "\x80", "\x9f", "\ufffd", "\ufffe", "\ue000", "\U000f0000", "\u202e", "\u2066"]
ENTITIES = ["&amp;", "&lt;b&gt;", "&#39;", "&quot;", "<br/>", "&amp;amp;", "&nbsp;", "&copy"]
SIGNS = list("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~") + ["...", "—", "“", "”", "«", "|||", "--", "¿", "!!!", "€", "™", "´", "¨"]
TOKENS = ["<|endoftext|>", "<|startoftext|>", "<|STARTOFTEXT|>", "<|EndOfText|>", "<|endoftext|>!", "!<|startoftext|>", "<|endoftext|", "<|endoftext|>s",
          "<|endoftext|>\u0338", "<cat-toy>", "<Cat-Toy>", "<cat-toy>s", "<dog-TOY>", "</w>", "a</w>", "Ġ", "[PAD]"]


def any_points(generator: random.Random, known) -> str:
    """Letters and signs of any block, but none that `known` (a database of unicodedata) has not, nor marks of this millennium's later years:
    tokenizers puts marks in order by older tables."""
    text = ""
    while len(text) < generator.randint(1, 8):
        start = generator.choice((0x20, 0x370, 0x2000, 0x3000, 0xAC00, 0x10000, 0x1F300))
        point = chr(start + generator.randrange(0x800))
        mark = known.combining(point) and not unicodedata.ucd_3_2_0.combining(point)
        text += point if known.category(point) not in ("Cn", "Cs") and not mark else ""
    return text


def piece(generator: random.Random, known) -> str:
    kind = generator.randrange(14)
    lists = (TAGS, WORDS, WORDS, CONTRACTIONS, SCRIPTS, EMOJI, MARKS, CONTROLS, ENTITIES, SIGNS, TOKENS)
    if kind < len(lists):
        return generator.choice(lists[kind])
    if kind == 11:
        return str(generator.randrange(10 ** generator.randint(1, 12)))
    if kind == 12:
        return any_points(generator, known)
    word = generator.choice(WORDS)
    return unicodedata.normalize(generator.choice(("NFD", "NFKD", "NFC")), generator.choice((word, word.upper(), word.title(), word.swapcase())))


def caption(generator: random.Random, known) -> str:
    form = generator.randrange(20)
    if form == 0:
        return "".join(generator.choice(SPACES) for _ in range(generator.randrange(4)))
    if form == 1:  # one word that is very long
        return "".join(generator.choice(("ab", "é", "ха", "the", "猫", "0", "!?")) for _ in range(generator.randint(50, 600)))
    if form < 6:
        return ", ".join(" ".join(generator.choice(TAGS + WORDS) for _ in range(generator.randint(1, 3))) for _ in range(generator.randint(1, 40)))
    text = ""
    for _ in range(generator.randint(1, 30)):
        text += piece(generator, known) + generator.choice((" ", " ", " ", "", ", ", generator.choice(SPACES)))
    return text


def captions(count: int, seed: int, known=unicodedata) -> list[str]:
    generator = random.Random(seed)
    return ["", *(caption(generator, known) for _ in range(count - 1))]
