"""What the tone detector is, for people and for other programs."""

import os

from clams.appmetadata import AppMetadata
from mmif import AnnotationTypes, DocumentTypes

os.environ["CLAMS_APP_VERSION"] = "1.0.0"


def appmetadata() -> AppMetadata:
    metadata = AppMetadata(
        name="Tone detector",
        description="Finds where a recording's sound is one steady test tone, by its spectrum.",
        app_license="Apache-2.0",
        identifier="https://tidemill.example/apps/tone-detector",
        url="https://tidemill.example/apps/tone-detector",
    )
    metadata.add_input(DocumentTypes.VideoDocument)
    metadata.add_output(AnnotationTypes.TimeFrame, label="tone", timeUnit="milliseconds")
    metadata.add_parameter(name="frequency", type="integer", default=1000, description="The tone's frequency in hertz.")
    metadata.add_parameter(
        name="purity",
        type="number",
        default=0.8,
        description="The part of the sound's energy that must be the tone's, 0 to 1.",
    )
    metadata.add_parameter(
        name="minDuration",
        type="integer",
        default=1000,
        description="Leave out tones shorter than so many milliseconds.",
    )
    return metadata
