"""A question in Malay, in English: the guidelines that clinics have are mostly in English.

Owns the words of questions; what findings are called is in synonyms. Only what a person asks is
put into English, never a guideline, a caption or an answer. The words are everyday ones (Kamus
Dewan, 4th edition, 2005); chosen by hand, not checked by a clinician.
"""

import re

from appliance.core.synonyms import SYNONYMS

WORDS = {
    # what is asked for
    "rawatan": "treatment",
    "merawat": "treat",
    "pengurusan": "management",
    "pencegahan": "prevention",
    "saringan": "screening",
    "pemeriksaan": "examination",
    "diagnosis": "diagnosis",
    "rujukan": "referral",
    "rujuk": "refer",
    "ubat": "medicine",
    "antibiotik": "antibiotic",
    "dos": "dose",
    "pembedahan": "surgery",
    "vaksin": "vaccine",
    "imunisasi": "immunisation",
    "tanda": "signs",
    "gejala": "symptoms",
    "punca": "cause",
    "komplikasi": "complications",
    "kecemasan": "emergency",
    # who
    "kanak-kanak": "children",
    "budak": "child",
    "bayi": "infant",
    "bayi baru lahir": "newborn",
    "orang dewasa": "adults",
    "dewasa": "adult",
    "warga emas": "elderly",
    "ibu mengandung": "pregnant women",
    "hamil": "pregnant",
    "pesakit": "patient",
    "kencing manis": "diabetes",
    "diabetes": "diabetes",
    "darah tinggi": "hypertension",
    # where
    "kulit": "skin",
    "kulit kepala": "scalp",
    "kepala": "head",
    "rambut": "hair",
    "muka": "face",
    "mulut": "mouth",
    "leher": "neck",
    "dada": "chest",
    "badan": "trunk",
    "belakang badan": "back",
    "perut": "abdomen",
    "tangan": "hand",
    "siku": "elbow",
    "kaki": "foot",
    "jari kaki": "toes",
    "jari": "finger",
    "kuku": "nail",
    "celah kelangkang": "groin",
    "lipatan": "fold",
    "celah": "web",
    "mata": "eye",
    "kelopak mata": "eyelid",
    "kornea": "corneal",
    "retina": "retina",
    "paru-paru": "lung",
    "jantung": "heart",
    "salur pernafasan": "airway",
    "tulang rusuk": "rib",
    # what
    "penyakit": "disease",
    "jangkitan": "infection",
    "dijangkiti": "infected",
    "kuman": "bacterial",
    "bakteria": "bacterial",
    "virus": "viral",
    "kulat": "fungal",
    "kanser": "cancer",
    "ketumbuhan": "growth",
    "luka": "wound",
    "kecederaan": "injury",
    "cedera": "injury",
    "terbakar": "burn",
    "melecur": "burn",
    "gigitan": "bite",
    "anjing": "dog",
    "kucing": "cat",
    "ular": "snake",
    "terkena": "exposed to",
    "bahan kimia": "chemical",
    "benda asing": "foreign body",
    "tertelan": "swallowed",
    "tercekik": "choking",
    "lemas": "drowning",
    "ulser": "ulcer",
    "ruam": "rash",
    "gatal": "itch",
    "bengkak": "swelling",
    "nanah": "pus",
    "bisul": "abscess",
    "lepuh": "blister",
    "demam": "fever",
    "batuk": "cough",
    "sesak nafas": "breathlessness",
    "sakit": "pain",
    "sakit mata": "eye pain",
    "miopia": "myopia",
    "pendarahan": "bleeding",
    "darah": "blood",
    "kuning": "jaundice",
    "alahan": "allergic",
    "serangan": "attack of",
    "sudut tertutup": "angle-closure",
    "proliferatif": "proliferative",
    "bukan proliferatif": "non-proliferative",
    "hipertensif": "hypertensive",
    "kongestif": "congestive",
    "akut": "acute",
    "kronik": "chronic",
    "aktif": "active",
    "teruk": "severe",
    "ringan": "mild",
    "sederhana": "moderate",
    # between
    "di": "of",
    "pada": "in",
    "dan": "and",
    "atau": "or",
    "dengan": "with",
    "tanpa": "without",
    "untuk": "for",
    "yang": "",
    "bagaimana": "how",
    "apakah": "what",
    "bila": "when",
}

_NAMES = {malay: row.english[0] for row in SYNONYMS for malay in row.malay}
_ENGLISH = WORDS | _NAMES
_ANY = re.compile(
    rf"(?<![\w-])(?:{'|'.join(map(re.escape, sorted(_ENGLISH, key=len, reverse=True)))})(?![\w-])"
)
"""The longest first: kulit kepala is no kulit."""


def in_english(text: str) -> str | None:
    """`text` with the Malay that is known put into English, word by word; None without any."""
    asked = " ".join(text.casefold().split())
    found = " ".join(_ANY.sub(lambda match: _ENGLISH[match[0]], asked).split())
    return found if found != asked else None
