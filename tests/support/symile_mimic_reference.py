"""The rules of Symile-MIMIC from the paper and its layout, admission by admission over pandas tables: slow."""

import numpy as np
import pandas as pd


def linked(
    admissions: pd.DataFrame, images: pd.DataFrame, records: pd.DataFrame, labs: pd.DataFrame, items: list[int]
) -> pd.DataFrame:
    """Make one row per admission with a labelled X-ray, an ECG and any result.

    Args:
        admissions: hadm_id, subject_id, time.
        images: subject_id, dicom_id, view, time, there, labelled.
        records: subject_id, study_id, time, usable.
        labs: labevent_id, subject_id, itemid, time, value.
        items: columns, in order.
    """
    images = images[images["view"].isin(["AP", "PA"]) & images["there"]].sort_values(["time", "dicom_id"])
    records = records[records["usable"]].sort_values(["time", "study_id"])
    labs = labs[labs["itemid"].isin(items) & labs["value"].notna()].sort_values(["time", "labevent_id"])
    rows = []
    for admission in admissions.itertuples():
        hours = {
            name: (table["time"] - admission.time) / pd.Timedelta(hours=1)
            for name, table in (("images", images), ("records", records), ("labs", labs))
        }
        candidates = {
            "images": images[
                (images["subject_id"] == admission.subject_id) & (hours["images"] > 24) & (hours["images"] <= 72)
            ],
            "records": records[(records["subject_id"] == admission.subject_id) & (hours["records"].abs() <= 24)],
            "labs": labs[(labs["subject_id"] == admission.subject_id) & (hours["labs"].abs() <= 24)],
        }
        if any(table.empty for table in candidates.values()) or not candidates["images"].iloc[0]["labelled"]:
            continue
        first = candidates["labs"].drop_duplicates("itemid").set_index("itemid")["value"]
        row = {"hadm_id": admission.hadm_id, "dicom_id": candidates["images"].iloc[0]["dicom_id"]}
        row |= {"ecg_study": candidates["records"].iloc[0]["study_id"]}
        rows.append(row | {str(item): first.get(item, np.nan) for item in items})
    return pd.DataFrame(rows).set_index("hadm_id").sort_index()


def percentile(values: pd.Series, training: pd.Series) -> pd.Series:
    """Evaluate the empirical distribution function of the training values at each value."""
    observed = np.sort(training.dropna().to_numpy(dtype=float))
    shares = np.array(
        [(observed <= value).mean() if value == value else np.nan for value in values.to_numpy(dtype=float)]
    )
    return pd.Series(shares, index=values.index)
