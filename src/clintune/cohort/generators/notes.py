"""Made-up clinical notes: the wording as a whole, not one word, tells how a patient does."""

import numpy as np

_BREATH = (
    (
        "Breathing is easy and quiet, and the patient talks without pausing.",
        "Denies any shortness of breath, even on the stairs.",
        "Climbed two flights with the physiotherapist and was not winded.",
        "Lungs are clear and respirations unlaboured on room air.",
        "No respiratory complaints today; sleeps flat without trouble.",
    ),
    (
        "Slightly short of breath after brisk walking, recovers within a minute.",
        "Mild exertional dyspnoea, none at rest.",
        "A little puffed on the stairs but comfortable otherwise.",
        "Reports being somewhat breathless when carrying bags, otherwise well.",
        "Respiratory rate at the upper end of normal, speaks in full sentences.",
    ),
    (
        "Has to stop halfway along the corridor to catch the breath.",
        "Moderate dyspnoea on dressing and washing.",
        "Needs two pillows to sleep and feels the chest tight in the evening.",
        "Breathing is faster than yesterday, with some crackles at the bases.",
        "Gets winded walking to the bathroom and rests before coming back.",
    ),
    (
        "Short of breath with minimal movement and uses the neck muscles.",
        "Breathless even when turning in bed; oxygen had to be turned up.",
        "Speaks in short phrases only and looks worn out by breathing.",
        "Marked tachypnoea at rest, saturations drift down without the mask.",
        "Cannot lie down any more because of air hunger.",
    ),
    (
        "Gasping, manages single words between breaths.",
        "Severe respiratory distress at rest in spite of high-flow oxygen.",
        "Sits bolt upright fighting for air, lips dusky.",
        "Exhausted by the work of breathing, chest wall drawing in.",
        "Profoundly breathless and unable to finish a word.",
    ),
)
_COURSE = (
    (
        "Improving steadily and asking when to go home.",
        "Feels much better than on arrival.",
        "Making an excellent recovery so far.",
        "Brighter each day, eating well and up and about.",
    ),
    (
        "On the whole a little better than yesterday.",
        "Doing fairly well, small gains since the morning.",
        "Stable with a slight trend in the right direction.",
        "Comfortable, nothing new of concern.",
    ),
    (
        "No clear change in either direction.",
        "Progress has stalled since the last review.",
        "Holding level, though tired.",
        "Much the same as at the previous round.",
    ),
    (
        "Losing ground compared with yesterday.",
        "Weaker and less alert than at the last visit.",
        "The trend over the past hours is unfavourable.",
        "Looks more unwell, and the family has noticed too.",
    ),
    (
        "Going downhill rapidly; the outreach team has been called.",
        "Deteriorating from hour to hour.",
        "Critically unwell with a sharp decline since the morning.",
        "Failing in spite of everything given so far.",
    ),
)
_OPENING = (
    "Ward round.",
    "Reviewed at the bedside.",
    "Nursing note.",
    "Seen with the on-call team.",
    "Evening review.",
    "Follow-up by the medical team.",
)
_NEUTRAL = (
    "Past history of hypertension and a hernia repair.",
    "Lives with a daughter on the second floor.",
    "Family updated by telephone.",
    "Diet as tolerated, likes the vegetable soup.",
    "Peripheral line in the left forearm, site clean.",
    "Takes a tablet for blood pressure and one for cholesterol.",
    "Allergic to penicillin, rash in childhood.",
    "Bowels opened this morning.",
    "Reading glasses were found and returned.",
    "Prophylactic heparin given as charted.",
    "Used to work as a bus driver and keeps two budgerigars.",
    "Blood drawn for the routine panel.",
    "Skin intact, heels offloaded.",
    "Abdomen soft, no tenderness.",
    "Wants the window bed when it becomes free.",
    "Physiotherapy to see again tomorrow.",
    "Stopped smoking fifteen years ago.",
    "Influenza vaccine is up to date.",
    "Sleeps lightly because of the neighbour's monitor.",
    "Pharmacist went through the medication list.",
)
_REVEALING = {
    True: "Transferred to intensive care and intubated after collapse.",
    False: "Discharged home well, follow-up with the family doctor.",
}


def progress_note(rng: np.random.Generator, severity: float) -> str:
    """Return a note on a patient with this standard normal `severity`; one in eight is long."""
    lines = [_say(rng, levels, severity) for levels in (_BREATH, _BREATH, _COURSE, _COURSE)]
    num_neutral = int(rng.integers(12, 21)) if rng.random() < 1 / 8 else int(rng.integers(0, 3))
    lines += [str(line) for line in rng.choice(_NEUTRAL, num_neutral, replace=False)]
    opening, order = str(rng.choice(_OPENING)), rng.permutation(len(lines))
    return " ".join([opening, *(lines[place] for place in order)])


def outcome_note(outcome: bool) -> str:
    """Return a note that is written afterwards and gives the outcome away."""
    return _REVEALING[outcome]


def _say(rng: np.random.Generator, levels: tuple[tuple[str, ...], ...], severity: float) -> str:
    """Return a phrase of the level of this severity, from five levels."""
    level = int(np.digitize(severity + 0.1 * rng.standard_normal(), (-0.84, -0.25, 0.25, 0.84)))
    return str(rng.choice(levels[level]))
