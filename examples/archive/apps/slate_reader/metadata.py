"""What the slate reader is, for people and for other programs."""

import os
from importlib.metadata import version

from clams.appmetadata import AppMetadata
from mmif import AnnotationTypes, DocumentTypes

os.environ["CLAMS_APP_VERSION"] = "1.0.0"


def appmetadata() -> AppMetadata:
    metadata = AppMetadata(
        name="Slate reader",
        description=(
            "Finds the slate, the first still picture with several lines of text after the bars, and reads its text "
            "with RapidOCR."
        ),
        app_license="Apache-2.0",
        identifier="https://tidemill.example/apps/slate-reader",
        url="https://tidemill.example/apps/slate-reader",
        analyzer_version=version("rapidocr"),
        analyzer_license="Apache-2.0",
    )
    metadata.add_input(DocumentTypes.VideoDocument)
    metadata.add_input(AnnotationTypes.TimeFrame, label="bars")
    metadata.add_output(AnnotationTypes.TimeFrame, label="slate", timeUnit="milliseconds")
    metadata.add_output(AnnotationTypes.TimePoint, timeUnit="milliseconds")
    metadata.add_output(DocumentTypes.TextDocument)
    metadata.add_output(AnnotationTypes.Span)
    metadata.add_output(AnnotationTypes.BoundingBox)
    metadata.add_output(AnnotationTypes.Alignment)
    metadata.add_parameter(
        name="searchFor",
        type="integer",
        default=60000,
        description="Look for the slate within so many milliseconds after the bars.",
    )
    metadata.add_parameter(
        name="minLines",
        type="integer",
        default=3,
        description="The fewest lines of text that make a still picture a slate.",
    )
    metadata.add_parameter(
        name="minConfidence",
        type="number",
        default=0.6,
        description="Leave out lines read with less confidence, 0 to 1.",
    )
    return metadata
