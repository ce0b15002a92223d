"""What the bars detector is, for people and for other programs."""

import os

from clams.appmetadata import AppMetadata
from mmif import AnnotationTypes, DocumentTypes

os.environ["CLAMS_APP_VERSION"] = "1.0.0"


def appmetadata() -> AppMetadata:
    metadata = AppMetadata(
        name="Bars detector",
        description="Finds where a recording shows SMPTE colour bars, by comparing its pictures with the seven bars.",
        app_license="Apache-2.0",
        identifier="https://tidemill.example/apps/bars-detector",
        url="https://tidemill.example/apps/bars-detector",
    )
    metadata.add_input(DocumentTypes.VideoDocument)
    metadata.add_output(AnnotationTypes.TimeFrame, label="bars", timeUnit="milliseconds")
    metadata.add_parameter(
        name="sampleEvery", type="integer", default=200, description="Look at one picture in so many milliseconds."
    )
    metadata.add_parameter(
        name="threshold",
        type="number",
        default=0.9,
        description="How alike a picture and the bars must be, from 0 (not at all) to 1 (the same).",
    )
    metadata.add_parameter(
        name="minDuration",
        type="integer",
        default=1000,
        description="Leave out bars shorter than so many milliseconds.",
    )
    metadata.add_parameter(
        name="stopAfterOne", type="boolean", default=True, description="Stop at the end of the first bars found."
    )
    metadata.add_parameter(
        name="stopAt", type="integer", default=0, description="Look no further than so many milliseconds; 0 is the end."
    )
    return metadata
