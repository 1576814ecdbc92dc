"""What is fuzzed: every file format of strangers, each as one file in a tree that is otherwise whole.

A target writes the tree once, puts the fuzzer's bytes into one of its files, and reads it as the tools do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

IMAGE = (64, 48)  # width, height


@dataclass(frozen=True)
class Target:
    """One parser.

    Parameters
    ----------
    place:
        Which file of the tree holds the fuzzer's bytes.
    seeds:
        Valid contents to start from, hand-made in the real layout.
    read:
        Reads the tree; may raise InputError and nothing else.
    tree:
        The other text files, by their path.
    images:
        The image files of the tree.
    size:
        Width and height of each of them.
    words:
        What the fuzzer should try to put in.
    """

    place: str
    seeds: Sequence[bytes] | Callable[[], Sequence[bytes]]
    read: Callable[[Path], object]
    tree: Mapping[str, str] | None = None
    images: Sequence[str] = ("images/a.png",)
    words: Sequence[str] = ()
    size: tuple[int, int] = IMAGE


def write_tree(target: Target, root: Path) -> None:
    """Write everything but the fuzzed file."""
    from mammodet.datasets.drawing import write_png

    width, height = target.size
    for number, name in enumerate(target.images):
        pixels = np.zeros((height, width), dtype=np.uint8)
        pixels[10:30, number % 20 : 40] = 200
        write_png((root / name).with_suffix(".png"), pixels)
    for name, text in (target.tree or {}).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    (root / target.place).parent.mkdir(parents=True, exist_ok=True)


def _convert(name: str, **options: Any) -> Callable[[Path], object]:
    def read(root: Path) -> object:
        from mammodet.datasets.converters import load_source
        from mammodet.datasets.converters.base import convert
        from mammodet.datasets.converters.options import Options

        return convert(load_source(name), root, root.parent / "coco.json", Options(**options))

    return read


def _coco(root: Path) -> None:
    from mammodet.datasets.coco import read_coco

    for profile in (True, False):
        read_coco(root / "coco.json", profile=profile)


def _results(root: Path) -> None:
    from mammodet.datasets.coco import read_coco, read_results

    read_results(root / "results.json", read_coco(root / "coco.json"))


def _predictions(name: str, **options: Any) -> Callable[[Path], object]:
    def read(root: Path) -> object:
        from mammodet.datasets.coco import read_coco
        from mammodet.evaluation.predictions import read_predictions

        return read_predictions(root / name, read_coco(root / "coco.json"), **options)

    return read


def _mammogram(name: str) -> Callable[[Path], object]:
    def read(root: Path) -> object:
        from mammodet.datasets.mammogram import read_mammogram
        from mammodet.datasets.standardise import Recipe

        return read_mammogram(root / name, Recipe(allow_for_processing=True))

    return read


def _rows(header: str, *rows: str) -> list[bytes]:
    return ["\n".join([header, *rows[:count], ""]).encode() for count in range(len(rows) + 1)]


def _dicom() -> list[bytes]:
    """Return small DICOM files of several transfer syntaxes."""
    from io import BytesIO

    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import (
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
        JPEG2000Lossless,
        JPEGLSLossless,
        RLELossless,
    )

    files = []
    pixels = (np.arange(64 * 48).reshape(64, 48) * 17 % 4096).astype(np.uint16)
    for syntax in (
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
        RLELossless,
        JPEG2000Lossless,
        JPEGLSLossless,
    ):
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.2"
        data.SOPInstanceUID = "1.2.3"
        data.Modality, data.PatientID, data.StudyInstanceUID = "MG", "p", "1.2"
        data.ImageLaterality, data.ViewPosition = "L", "CC"
        data.Rows, data.Columns, data.SamplesPerPixel = 64, 48, 1
        data.PhotometricInterpretation = "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
        data.WindowCenter, data.WindowWidth = [2000, 1000], [4000, 900]
        data.ImagerPixelSpacing = [0.1, 0.1]
        data.PixelData = pixels.tobytes()
        if syntax.is_compressed:
            data.compress(syntax, generate_instance_uid=False)
        else:
            data.file_meta.TransferSyntaxUID = syntax
        stream = BytesIO()
        data.save_as(stream, enforce_file_format=True)
        files.append(stream.getvalue())
    return files


def _raster(suffix: str, *parameters: int) -> list[bytes]:
    import cv2

    pixels = (np.arange(16 * 12).reshape(16, 12) * 300 % 65536).astype(np.uint16)
    shown = pixels if suffix in {".png", ".tif", ".pgm"} else (pixels >> 8).astype(np.uint8)
    return [cv2.imencode(suffix, one, parameters)[1].tobytes() for one in (shown, shown.astype(np.uint8))]


_PROFILE = {
    "images": [{"id": 1, "file_name": "images/a.png", "width": 64, "height": 48, "patient_id": "p", "label": None}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4.5], "segmentation": [[1, 2, 4, 2, 4, 6]]},
        {"id": 2, "image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 3], "iscrowd": 1,
         "segmentation": {"size": [48, 64], "counts": [0, 3, 3069]}},
    ],
    "categories": [{"id": 1, "name": "benign"}, {"id": 2, "name": "malignant"}],
}  # fmt: skip
_VOC = (
    "<annotation><folder>images</folder><filename>a.png</filename><size><width>64</width><height>48</height>"
    "<depth>1</depth></size><object><name>benign</name><difficult>0</difficult><bndbox><xmin>1</xmin>"
    "<ymin>2</ymin><xmax>20</xmax><ymax>30</ymax></bndbox></object></annotation>"
)
_LABELME = {
    "version": "5.0.1", "flags": {}, "imagePath": "a.png", "imageData": None, "imageHeight": 48, "imageWidth": 64,
    "shapes": [
        {"label": "benign", "points": [[1, 2], [9, 2], [9, 12]], "shape_type": "polygon", "flags": {}},
        {"label": "malignant", "points": [[1, 2], [9, 12]], "shape_type": "rectangle"},
        {"label": "malignant", "points": [[20, 20], [25, 20]], "shape_type": "circle"},
    ],
}  # fmt: skip
_PLIST = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple Computer//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><dict><key>Images</key><array><dict><key>ROIs</key><array><dict><key>Name</key>
<string>Mass</string><key>NumberOfPoints</key><integer>3</integer><key>Point_px</key><array>
<string>(10.0, 15.0)</string><string>(12.5, 15.0)</string><string>(12.0, 17.25)</string></array></dict></array>
</dict></array></dict></plist>"""
_INBREAST = "Patient ID;Patient age;Laterality;View;Acquisition date;File Name;ACR;Bi-Rads"
_VINDR = (
    "study_id,series_id,image_id,laterality,view_position,height,width,breast_birads,breast_density,"
    "finding_categories,finding_birads,xmin,ymin,xmax,ymax,split"
)
_CALC = (
    "patient_id,breast density,left or right breast,image view,abnormality id,abnormality type,calc type,"
    "calc distribution,assessment,pathology,subtlety,image file path,cropped image file path,ROI mask file path"
)
_CESM_REGIONS = (
    "#filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes"
)
_CESM_ROWS = (
    "Image_name,Patient_ID,Side,Type,Age,Breast density (ACR),BIRADS,Findings,View,Tags,Machine,"
    "Pathology Classification/ Follow up"
)
_CESM_TABLES = {
    "Radiology-manual-annotations.csv": f"{_CESM_ROWS}\nP1_L_DM_MLO,1,L,DM,46,C,4,Mass,MLO,x,1,Malignant\n",
    "Radiology_hand_drawn_segmentations_v2.csv": (
        f'{_CESM_REGIONS}\nP1_L_DM_MLO.jpg,1,{{}},1,0,"{{""name"":""circle"",""cx"":9,""cy"":9,""r"":4}}",{{}}\n'
    ),
}
_ICS = (
    "ics_version 1.0\nfilename B-3159-1\nPATIENT_AGE 58\nDENSITY 2\nDIGITIZER LUMISYS LASER\nSEQUENCE\n"
    "LEFT_CC LINES 48 PIXELS_PER_LINE 64 BITS_PER_PIXEL 12 RESOLUTION 50 OVERLAY\n"
)
_OVERLAY = (
    "TOTAL_ABNORMALITIES 1\nABNORMALITY 1\nLESION_TYPE MASS SHAPE OVAL MARGINS CIRCUMSCRIBED\nASSESSMENT 2\n"
    "SUBTLETY 3\nPATHOLOGY BENIGN\nTOTAL_OUTLINES 1\nBOUNDARY\n10 20 2 2 2 4 4 4 6 6 6 0 0 0 #\n"
)
_RSNA = (
    "site_id,patient_id,image_id,laterality,view,age,cancer,biopsy,invasive,BIRADS,implant,density,machine_id,"
    "difficult_negative_case"
)
_CSAW = (
    "anon_patientid,anon_filename,imagelaterality,viewposition,x_case,x_cancer_laterality,rad_timing,x_age,"
    "exam_year"
)
_EMBED = (
    "empi_anon,acc_anon,anon_dicom_path,ImageLateralityFinal,ViewPosition,FinalImageType,num_roi,ROI_coords,"
    "spot_mag"
)
_EMBED_CLINICAL = "empi_anon,acc_anon,side,asses,path_severity,tissueden"
_EMBED_TABLES = {
    "tables/EMBED_OpenData_metadata.csv": f'{_EMBED}\n1,2,/mnt/a.dcm,L,CC,2D,1,"((5, 6, 20, 30),)",\n',
    "tables/EMBED_OpenData_clinical.csv": f"{_EMBED_CLINICAL}\n1,2,L,S,0,3\n",
}
_OMI_MARK = {
    "MarkID": "1", "X1": "10", "Y1": "30", "X2": "40", "Y2": "12", "LinkedNBSSLesionNumber": "1",
    "Conspicuity": "Obvious", "Mass": None, "WithCalcification": None, "SuspiciousCalcifications": "1",
    "ArchitecturalDistortion": None, "FocalAsymmetry": None, "BenignClassification": None,
}  # fmt: skip
_OMI_TABLES = {
    "data/optm1/imagedb_optm1.json": json.dumps({
        "Site": "optm",
        "STUDIES": {"1.3.1": {"StudyDate": "20150101", "EpisodeID": "ep1", "1.3.1.1": {"1.3.1.1.1": {"m": _OMI_MARK}}}},
    }),
    "data/optm1/nbss_optm1.json": json.dumps({
        "NBSSClientID": "1",
        "ep1": {
            "EpisodeType": "R", "EpisodeOpenedDate": "2014-12-20",
            "SCREENING": {"L": {"DateTaken": "2015-01-01", "Opinion": "RN"}, "left_opinion": "ON"},
            "LESION": {"L": {"1": {"LesionDescription": "MC", "LesionPosition": "LA1"}}},
            "SURGERY": {"L": {"1": {"Opinion": "H5", "DatePerformed": "2015-02-01"}}},
        },
    }),
    "data/optm1/1.3.1/1.3.1.1.1.json": json.dumps({"00200062": {"vr": "CS", "Value": ["L"]}}),
}  # fmt: skip
_SEED = '"{""x"": 3, ""y"": 4, ""width"": 12, ""height"": 9, ""label"": ""1""}"'
_MIAS = b"x\nmdb001 G CIRC B 35 25 7\nmdb001 G CALC M 30 20 9\nmdb002 D NORM\nmdb003 F CALC B *NOTE 3*\n"

TARGETS: Mapping[str, Target] = {
    "mini-mias": Target("Info.txt", [_MIAS], _convert("mini-mias"), images=("mdb001.png", "mdb002.png"), size=(64, 64)),
    "seed-csv": Target(
        "annotations.csv", _rows("image_name,box1", f"a.png,{_SEED}", "b.png,"), _convert("seed-csv"),
        images=("images/a.png", "images/b.png"),
    ),
    "cbis-ddsm": Target(
        "calc_case_description_train_set.csv",
        _rows(_CALC, 'P_1,3,LEFT,CC,1,calcification,AMORPHOUS,CLUSTERED,3,MALIGNANT,3,C_1/s/t/0.dcm,"C_1_1/s/t/1.dcm\n",C_1_1/s/t/0.dcm'),
        _convert("cbis-ddsm"), images=("C_1/s/t/0.png", "C_1_1/s/t/0.png"),
    ),
    "inbreast-csv": Target(
        "INbreast.csv", _rows(_INBREAST, "removed;removed;R;CC;201001;123;4;4a", "removed;removed;L;MLO;201001;124;1;1"),
        _convert("inbreast"), {"AllXML/123.xml": _PLIST}, ("123_0123456789ab_MG_R_CC_ANON.png", "124.png"),
    ),
    "inbreast-xml": Target(
        "AllXML/123.xml", [_PLIST.encode()], _convert("inbreast"),
        {"INbreast.csv": f"{_INBREAST}\nr;r;R;CC;201001;123;4;4a\n"}, ("123.png",), ("<!ENTITY", "<real>", "&a;"),
    ),
    "vindr-mammo": Target(
        "finding_annotations.csv",
        _rows(_VINDR, "s,e,a,R,CC,48,64,BI-RADS 4,DENSITY C,\"['Mass', 'Asymmetry']\",BI-RADS 4,2.5,3,20,30,training",
              "s,e,a,R,CC,48,64,BI-RADS 1,DENSITY C,['No Finding'],,,,,,training"),
        _convert("vindr-mammo"),
    ),
    "cdd-cesm-rows": Target(
        "Radiology-manual-annotations.csv", [_CESM_TABLES["Radiology-manual-annotations.csv"].encode()],
        _convert("cdd-cesm"), _CESM_TABLES, ("Low/P1_L_DM_MLO.png",),
    ),
    "cdd-cesm-regions": Target(
        "Radiology_hand_drawn_segmentations_v2.csv",
        [_CESM_TABLES["Radiology_hand_drawn_segmentations_v2.csv"].encode()],
        _convert("cdd-cesm"), _CESM_TABLES, ("Low/P1_L_DM_MLO.png",),
        ("ellipse", "theta", "all_points_x", "polyline", "NaN", "1e309"),
    ),
    "ddsm-ics": Target(
        "case/B-3159-1.ics", [_ICS.encode()], _convert("ddsm"), {"case/B_3159_1.LEFT_CC.OVERLAY": _OVERLAY},
        ("case/B_3159_1.LEFT_CC.png",),
    ),
    "ddsm-overlay": Target(
        "case/B_3159_1.LEFT_CC.OVERLAY", [_OVERLAY.encode()], _convert("ddsm"), {"case/B-3159-1.ics": _ICS},
        ("case/B_3159_1.LEFT_CC.png",), ("CORE", "UNPROVEN", "#"),
    ),
    "embed-metadata": Target(
        "tables/EMBED_OpenData_metadata.csv", [_EMBED_TABLES["tables/EMBED_OpenData_metadata.csv"].encode()],
        _convert("embed"), _EMBED_TABLES, ("images/a.png",),
    ),
    "embed-clinical": Target(
        "tables/EMBED_OpenData_clinical.csv", [_EMBED_TABLES["tables/EMBED_OpenData_clinical.csv"].encode()],
        _convert("embed"), _EMBED_TABLES, ("images/a.png",),
    ),
    "cmmd": Target(
        "CMMD_clinicaldata_revision.csv",
        _rows("ID1,LeftRight,Age,number,abnormality,classification,subtype", "D1-0001,R,44,2,calcification,Benign,",
              "D1-0001,L,44,2,both,Malignant,Luminal A"),
        _convert("cmmd"), images=("CMMD/D1-0001/s/R_CC.png", "CMMD/D1-0001/s/L_CC.png"),
    ),
    "rsna": Target(
        "train.csv", _rows(_RSNA, "2,10006,1,L,CC,61.0,0,0,0,,0,,29,False", "2,10006,2,L,MLO,61.0,1,1,1,0,0,B,29,False"),
        _convert("rsna"), images=("train_images/10006/1.png", "train_images/10006/2.png"),
    ),
    "csaw-cc": Target(
        "CSAW-CC_breast_cancer_screening_data.csv", _rows(_CSAW, "1,a.dcm,Left,CC,1,Left,1,50,2014"), _convert("csaw-cc"),
    ),
    "omi-db-images": Target(
        "data/optm1/imagedb_optm1.json", [_OMI_TABLES["data/optm1/imagedb_optm1.json"].encode()], _convert("omi-db"),
        _OMI_TABLES, ("images/optm1/1.3.1/1.3.1.1.1.png",), ("Mass", "LinkedNBSSLesionNumber"),
    ),
    "omi-db-records": Target(
        "data/optm1/nbss_optm1.json", [_OMI_TABLES["data/optm1/nbss_optm1.json"].encode()], _convert("omi-db"),
        _OMI_TABLES, ("images/optm1/1.3.1/1.3.1.1.1.png",), ("BIOPSYWIDE", "B5", "H2", "ASSESSMENT"),
    ),
    "voc": Target(
        "images/a.xml", [f'<?xml version="1.0"?><!DOCTYPE x>{_VOC}'.encode(), _VOC.encode()], _convert("voc"),
        words=("<!ENTITY", "&lol;", "SYSTEM", "<polygon>", "<rotated>"),
    ),
    "yolo-rows": Target(
        "labels/a.txt", [b"0 0.5 0.5 0.25 0.25\n", b"1 0.1 0.1 0.5 0.1 0.5 0.6\n"], _convert("yolo"),
        {"data.yaml": "names: [benign, malignant]\ntrain: images\n"}, words=("nan", "1e308", "-1"),
    ),
    "yolo-names": Target(
        "data.yaml", [b"names: [benign, malignant]\n", b"path: .\nnames:\n  0: benign\n  1: malignant\n"],
        _convert("yolo"), {"labels/a.txt": "0 0.5 0.5 0.25 0.25\n"}, words=("&a", "*a", "!!python", "<<:"),
    ),
    "labelme": Target(
        "images/a.json", [json.dumps(_LABELME).encode()], _convert("labelme"),
        words=("linestrip", "mask", "point", "imageData", "NaN", "[[[["),
    ),
    "coco": Target(
        "annotations.json", [json.dumps(_PROFILE).encode()], _convert("coco"),
        words=("attributes", "rotation", "counts", "bbox", "%2e%2e/"),
    ),
    "coco-profile": Target(
        "coco.json", [json.dumps(_PROFILE).encode()], _coco, words=("lesion_id", "provenance", "NaN", "null"),
    ),
    "results": Target(
        "results.json", [b'[{"image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4], "score": 0.5}]'], _results,
        {"coco.json": json.dumps(_PROFILE)},
    ),
    "predictions-table": Target(
        "dt.csv", _rows("image,x0,y0,x1,y1,score,label", "a.png,1,2,30,40,0.5,benign", "images/a.png,1,2,30,40,0.25,malignant"),
        _predictions("dt.csv"), {"coco.json": json.dumps(_PROFILE)}, words=("PatientID", "view", "cx", "nan", ";", "|"),
    ),
    "predictions-json": Target(
        "dt.json", [b'{"a": {"boxes": [[1, 2, 30, 40]], "scores": [0.5], "labels": ["benign"]}}'],
        _predictions("dt.json"), {"coco.json": json.dumps(_PROFILE)}, words=("bboxes", "image_id", "NaN", "1e999"),
    ),
    "predictions-yolo": Target(
        "labels/a.txt", [b"1 0.5 0.25 0.1 0.2 0.873047\n0 0.5 0.5 0.1 0.1 0.5\n"],
        _predictions("labels", categories={"benign": 0, "malignant": 1}), {"coco.json": json.dumps(_PROFILE)},
    ),
    "dicom": Target("x.dcm", _dicom, _mammogram("x.dcm")),
    "png": Target("x.png", partial(_raster, ".png"), _mammogram("x.png")),
    "tiff": Target("x.tif", partial(_raster, ".tif"), _mammogram("x.tif")),
    "pgm": Target("x.pgm", partial(_raster, ".pgm"), _mammogram("x.pgm")),
    "jpeg": Target("x.jpg", partial(_raster, ".jpg"), _mammogram("x.jpg")),
}  # fmt: skip
