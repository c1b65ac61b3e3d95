"""The 25 conditions of the made-up phenotyping cohort: prevalence, wording, labs and drugs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Condition:
    """A phenotype.

    `prevalence` is that at the mean age; `age` and `male` shift its log odds by decade and by sex.
    Notes use one of `wordings`. `lab` is (code, mean, deviation, shift in those who have it).
    `drug` is a code.
    """

    name: str
    prevalence: float
    wordings: tuple[str, ...]
    lab: tuple[str, float, float, float]
    drug: str
    age: float = 0.0
    male: float = 0.0


CONDITIONS = (
    Condition("hypertension", 0.40,
              ("hypertension", "high blood pressure", "raised arterial pressure"),
              ("LAB//SYSTOLIC", 126, 12, 22), "DRUG//AMLODIPINE", 0.3),
    Condition("hyperlipidemia", 0.33,
              ("hyperlipidaemia", "high cholesterol", "dyslipidaemia"),
              ("LAB//LDL", 2.6, 0.6, 1.3), "DRUG//ATORVASTATIN", 0.2),
    Condition("diabetes", 0.25,
              ("type 2 diabetes", "diabetes mellitus", "raised blood sugar on metformin"),
              ("LAB//HBA1C", 5.4, 0.4, 2.0), "DRUG//METFORMIN", 0.2),
    Condition("atrial_fibrillation", 0.20,
              ("atrial fibrillation", "an irregularly irregular pulse", "known AF"),
              ("LAB//HEART_RATE", 76, 10, 20), "DRUG//APIXABAN", 0.4),
    Condition("coronary_disease", 0.20,
              ("coronary artery disease", "ischaemic heart disease", "stented coronaries"),
              ("LAB//TROPONIN", 8, 4, 14), "DRUG//CLOPIDOGREL", 0.3, 0.5),
    Condition("chronic_kidney_disease", 0.17,
              ("chronic kidney disease", "renal impairment", "poor kidney function"),
              ("LAB//CREATININE", 80, 14, 90), "DRUG//SEVELAMER", 0.3),
    Condition("heart_failure", 0.15,
              ("congestive heart failure", "a weak heart", "reduced ejection fraction"),
              ("LAB//BNP", 60, 40, 500), "DRUG//FUROSEMIDE", 0.4),
    Condition("copd", 0.13,
              ("COPD", "chronic obstructive lung disease", "emphysema"),
              ("LAB//PCO2", 40, 3, 11), "DRUG//TIOTROPIUM", 0.2),
    Condition("depression", 0.12,
              ("depression", "low mood for months", "a depressive episode"),
              ("LAB//PHQ9", 4, 2.5, 11), "DRUG//SERTRALINE", 0.0, -0.5),
    Condition("hypothyroidism", 0.11,
              ("hypothyroidism", "an underactive thyroid", "thyroid failure"),
              ("LAB//TSH", 2, 0.8, 6), "DRUG//LEVOTHYROXINE", 0.1, -0.9),
    Condition("anemia", 0.10,
              ("anaemia", "a low blood count", "iron deficiency"),
              ("LAB//HEMOGLOBIN", 14, 1.1, -4), "DRUG//FERROUS_SULFATE", 0.1, -0.3),
    Condition("pneumonia", 0.10,
              ("pneumonia", "a lower respiratory tract infection", "lobar consolidation"),
              ("LAB//CRP", 6, 4, 120), "DRUG//AMOXICILLIN", 0.1),
    Condition("urinary_infection", 0.09,
              ("urinary tract infection", "cystitis", "burning on passing water"),
              ("LAB//URINE_WBC", 3, 2, 40), "DRUG//NITROFURANTOIN", 0.1, -0.8),
    Condition("asthma", 0.08,
              ("asthma", "reactive airways", "wheeze relieved by a blue inhaler"),
              ("LAB//EOSINOPHILS", 0.15, 0.08, 0.4), "DRUG//SALBUTAMOL", -0.2),
    Condition("osteoporosis", 0.08,
              ("osteoporosis", "brittle bones", "a fragility fracture"),
              ("LAB//T_SCORE", -0.4, 0.8, -2.6), "DRUG//ALENDRONATE", 0.5, -1.2),
    Condition("stroke", 0.07,
              ("a stroke", "cerebral infarction", "one-sided weakness of sudden onset"),
              ("LAB//NIHSS", 0.5, 0.5, 7), "DRUG//ASPIRIN", 0.4),
    Condition("sepsis", 0.06,
              ("sepsis", "bloodstream infection with shock", "septicaemia"),
              ("LAB//LACTATE", 1.1, 0.4, 3.5), "DRUG//MEROPENEM", 0.2),
    Condition("liver_disease", 0.05,
              ("liver cirrhosis", "chronic liver disease", "hepatic fibrosis with ascites"),
              ("LAB//BILIRUBIN", 10, 4, 50), "DRUG//LACTULOSE", 0.0, 0.4),
    Condition("prostate_cancer", 0.013,
              ("prostate cancer", "a tumour of the prostate", "raised PSA with bone lesions"),
              ("LAB//PSA", 1.5, 1.0, 22), "DRUG//GOSERELIN", 0.5, 4.0),
    Condition("gout", 0.045,
              ("gout", "podagra", "urate crystals in the big toe"),
              ("LAB//URATE", 310, 50, 200), "DRUG//ALLOPURINOL", 0.2, 0.9),
    Condition("pulmonary_embolism", 0.035,
              ("pulmonary embolism", "a clot in the lung", "thromboembolic disease"),
              ("LAB//D_DIMER", 0.3, 0.15, 3), "DRUG//ENOXAPARIN", 0.2),
    Condition("epilepsy", 0.03,
              ("epilepsy", "recurrent seizures", "tonic-clonic fits"),
              ("LAB//PROLACTIN", 10, 4, 25), "DRUG//LEVETIRACETAM", -0.1),
    Condition("rheumatoid_arthritis", 0.025,
              ("rheumatoid arthritis", "symmetrical joint swelling", "seropositive RA"),
              ("LAB//RHEUMATOID_FACTOR", 8, 4, 90), "DRUG//METHOTREXATE", 0.1, -0.8),
    Condition("parkinsons", 0.015,
              ("Parkinson's disease", "parkinsonism", "a resting tremor with shuffling gait"),
              ("LAB//UPDRS", 2, 2, 25), "DRUG//LEVODOPA", 0.5, 0.3),
    Condition("pancreatitis", 0.01,
              ("acute pancreatitis", "an inflamed pancreas", "gallstone pancreatitis"),
              ("LAB//LIPASE", 30, 12, 900), "DRUG//PANCREATIN"),
)  # fmt: skip
