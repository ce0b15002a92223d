"""What the shot detector is, for people and for other programs."""

import os
from importlib.metadata import version

from clams.appmetadata import AppMetadata
from mmif import AnnotationTypes, DocumentTypes

os.environ["CLAMS_APP_VERSION"] = "1.0.0"


def appmetadata() -> AppMetadata:
    metadata = AppMetadata(
        name="Shot detector",
        description="Cuts a recording into shots with PySceneDetect.",
        app_license="Apache-2.0",
        identifier="https://tidemill.example/apps/shot-detector",
        url="https://tidemill.example/apps/shot-detector",
        analyzer_version=version("scenedetect-headless"),
        analyzer_license="BSD-3-Clause",
    )
    metadata.add_input(DocumentTypes.VideoDocument)
    metadata.add_output(AnnotationTypes.TimeFrame, label="shot", timeUnit="milliseconds")
    metadata.add_parameter(
        name="method",
        type="string",
        default="content",
        choices=["content", "adaptive", "histogram"],
        description="How pictures are compared: by colour, the same against a moving average, or by histogram.",
    )
    metadata.add_parameter(
        name="minDuration", type="integer", default=1000, description="The shortest shot, in milliseconds."
    )
    return metadata
