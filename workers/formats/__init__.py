"""How datasets are laid out in zips, one file per format."""

from typing import Any

from service.requests import DatasetFormat
from workers.formats.coco import COCO
from workers.formats.format import Description, Enclosures, Format
from workers.formats.huggingface import HUGGINGFACE
from workers.formats.png import PNG
from workers.formats.stored_zip import stored_zip
from workers.formats.voc import VOC
from workers.formats.webdataset import WEBDATASET
from workers.formats.yolo import YOLO

FORMATS: dict[DatasetFormat, Format[Any]] = {
    entry.name: entry for entry in (PNG, COCO, YOLO, VOC, HUGGINGFACE, WEBDATASET)
}
"""Every format there is."""

__all__ = ["FORMATS", "Description", "Enclosures", "Format", "stored_zip"]
