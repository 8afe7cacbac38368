"""Names that mean the same finding, in English and Malay.

Owns the reviewed table and how a text's names are looked up in it. Each row is one finding: names
a guideline or a caption may use, then what Malay documents call it. English names are the headings
and entry terms of Medical Subject Headings (MeSH, National Library of Medicine, 2025) and
abbreviations as the guidelines of the Ministry of Health Malaysia (MaHTAS) list them; Malay names
are those of the Ministry's own health portal and manuals (MyHEALTH; Manual Pengurusan Kusta
Kebangsaan, 2nd edition, 2014). Written and checked by hand, not yet by a clinician.

A row never joins two findings that are managed differently: not every fundus haemorrhage is
diabetic, and tinea versicolor is no tinea. A name that may mean either stands in the row of each.
"""

import re
from dataclasses import dataclass

from appliance.core.naming import plain


@dataclass(frozen=True)
class Synonyms:
    english: tuple[str, ...]
    malay: tuple[str, ...] = ()


SYNONYMS: tuple[Synonyms, ...] = (
    # skin
    Synonyms(("scabies", "sarcoptes scabiei"), ("kudis",)),
    Synonyms(("crusted scabies", "norwegian scabies")),
    Synonyms(("tinea", "ringworm", "dermatophytosis"), ("kurap",)),
    Synonyms(("tinea pedis", "athlete's foot"), ("kutu air",)),
    Synonyms(("tinea cruris", "jock itch")),
    Synonyms(("tinea capitis", "scalp ringworm", "kerion")),
    Synonyms(("onychomycosis", "fungal nail infection", "tinea unguium")),
    Synonyms(("tinea versicolor", "pityriasis versicolor"), ("panau",)),
    Synonyms(("leprosy", "hansen's disease", "hansen disease"), ("kusta",)),
    Synonyms(("herpes zoster", "shingles", "zoster"), ("kayap",)),
    Synonyms(("varicella", "chickenpox"), ("cacar air",)),
    Synonyms(("dermatitis", "eczema"), ("ekzema",)),
    Synonyms(("pediculosis capitis", "head lice", "head louse"), ("kutu kepala",)),
    Synonyms(("candidiasis", "candida", "candidal", "thrush"), ("kandidiasis",)),
    Synonyms(("urticaria", "hives"), ("gegata",)),
    Synonyms(("angio-oedema", "angioedema", "angio-edema")),
    Synonyms(("mpox", "monkeypox"), ("cacar monyet",)),
    Synonyms(("measles", "rubeola"), ("campak",)),
    Synonyms(("filariasis", "elephantiasis"), ("untut",)),
    Synonyms(("dengue", "dengue fever"), ("denggi",)),
    Synonyms(("omphalitis", "cord sepsis")),
    Synonyms(("severe acute malnutrition", "oedematous malnutrition", "kwashiorkor")),
    Synonyms(("melanocytic nevus", "melanocytic naevus", "mole"), ("tahi lalat",)),
    Synonyms(("melanoma", "malignant melanoma"), ("melanoma",)),
    Synonyms(("basal cell carcinoma", "bcc"), ("karsinoma sel basal",)),
    Synonyms(("benign keratosis", "seborrhoeic keratosis", "seborrheic keratosis")),
    Synonyms(("actinic keratosis", "solar keratosis")),
    Synonyms(("psoriasis",), ("psoriasis",)),
    Synonyms(("acne vulgaris", "acne"), ("jerawat",)),
    # eye
    Synonyms(("diabetic retinopathy",), ("retinopati diabetik",)),
    Synonyms(("non-proliferative diabetic retinopathy", "npdr")),
    Synonyms(("proliferative diabetic retinopathy", "pdr")),
    Synonyms(("diabetic macular oedema", "diabetic macular edema", "dme")),
    Synonyms(("age-related macular degeneration", "amd", "armd"), ("degenerasi makula",)),
    Synonyms(("glaucoma",), ("glaukoma",)),
    Synonyms(("acute angle-closure glaucoma", "angle-closure glaucoma", "acute glaucoma")),
    Synonyms(("anterior uveitis", "iritis", "iridocyclitis")),
    Synonyms(("cataract",), ("katarak",)),
    Synonyms(("hypertensive retinopathy",), ("retinopati hipertensif",)),
    Synonyms(("pathological myopia", "pathologic myopia", "degenerative myopia")),
    Synonyms(("conjunctivitis", "pink eye"), ("konjunktivitis",)),
    Synonyms(("ophthalmia neonatorum", "neonatal conjunctivitis")),
    Synonyms(("trachoma", "trachomatous"), ("trakoma",)),
    Synonyms(("photokeratitis", "flash burn to eye", "welder's flash")),
    Synonyms(("retinal artery occlusion", "blockage in eye vessel")),
    Synonyms(("retinal vein occlusion", "blockage in eye vessel")),
    Synonyms(("periorbital cellulitis", "preseptal cellulitis")),
    # chest
    Synonyms(("pneumonia",), ("pneumonia", "radang paru-paru")),
    Synonyms(("tuberculosis", "tb", "tuberculous"), ("tibi", "batuk kering")),
    Synonyms(("pleural effusion",), ("efusi pleura",)),
    Synonyms(("heart failure", "cardiac failure", "chf"), ("kegagalan jantung",)),
    Synonyms(("cardiomegaly", "enlarged heart")),
    Synonyms(("pulmonary oedema", "pulmonary edema", "apo"), ("edema paru",)),
    Synonyms(("pulmonary embolism", "pe"), ("embolisme pulmonari",)),
    Synonyms(("pertussis", "whooping cough"), ("batuk kokol",)),
    Synonyms(("asthma",), ("asma", "penyakit lelah", "sakit lelah")),
    Synonyms(("bronchiolitis",), ("bronkiolitis",)),
    Synonyms(("chronic obstructive pulmonary disease", "copd")),
    Synonyms(("inhaled foreign body", "foreign body aspiration", "choking")),
)


_NAMES = sorted({plain(name) for row in SYNONYMS for name in (*row.english, *row.malay)}, key=len)
_ANY_NAME = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, reversed(_NAMES)))})(?!\w)")
"""The longest first: tinea versicolor is not tinea."""


def names_of_the_same(text: str) -> tuple[str, ...]:
    """The other names of every finding that `text` names, English first, each once."""
    named = set(_ANY_NAME.findall(plain(text)))
    rows = [row for row in SYNONYMS if named & {*map(plain, (*row.english, *row.malay))}]
    english = (name for row in rows for name in row.english)
    malay = (name for row in rows for name in row.malay)
    return tuple(name for name in dict.fromkeys((*english, *malay)) if plain(name) not in named)


def names_of(finding: str) -> tuple[str, ...]:
    """`finding`, which is a name, and all other names of it."""
    rows = (row for row in SYNONYMS if finding in (*row.english, *row.malay))
    same = (name for row in rows for name in (*row.english, *row.malay))
    return tuple(dict.fromkeys((finding, *same)))
