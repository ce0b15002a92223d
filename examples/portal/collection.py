"""Which projects, samples and libraries there are, and what is said of them. Their data are drawn elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from cells import chance

WORKFLOW = {"workflow": "https://example.org/scpca-nf", "workflow_version": "v0.8.5"}


@dataclass(frozen=True)
class Library:
    """One run of the sequencer. Of several samples: multiplexed. `seq_unit`: cell, nucleus, spot, or bulk."""

    id: str
    samples: tuple[str, ...]
    technology: str = "10Xv3.1"
    seq_unit: str = "cell"
    citeseq: bool = False


@dataclass(frozen=True)
class Sample:
    id: str
    age: str
    diagnosis: str
    sex: str
    tissue: str
    timing: str = "Initial diagnosis"
    subdiagnosis: str = "NA"
    treatment: str = "NA"

    def row(self, project: str) -> dict[str, str]:
        """Its row in `samples_metadata.csv`."""
        return {
            "scpca_project_id": project,
            "scpca_sample_id": self.id,
            "submitter_id": f"tumour-{self.id[-3:]}",
            "age": self.age,
            "age_timing": "diagnosis",
            "diagnosis": self.diagnosis,
            "subdiagnosis": self.subdiagnosis,
            "disease_timing": self.timing,
            "sex": self.sex,
            "tissue_location": self.tissue,
            "treatment": self.treatment,
            "organism": "Homo sapiens",
            "is_cell_line": "FALSE",
            "is_xenograft": "FALSE",
        }


@dataclass(frozen=True)
class Project:
    id: str
    investigator: str
    title: str
    abstract: str
    samples: tuple[Sample, ...] = ()
    libraries: tuple[Library, ...] = ()
    merged: bool = False
    locked: bool = False
    restrictions: str = ""
    contacts: tuple[tuple[str, str], ...] = (("Ada Lindqvist", "ada.lindqvist@example.org"),)
    accessions: tuple[tuple[str, str, bool], ...] = ()
    """Accession, its address, whether raw data lie there."""
    citations: tuple[tuple[str, str], ...] = ()
    """DOI and citation."""
    bulk: tuple[Library, ...] = field(default=())

    def row(self) -> dict[str, str]:
        """Its row in `project_metadata.csv`; lists that belong together are in step."""
        said = {
            "scpca_project_id": self.id,
            "submitter": self.id[-2:].lower() + "-lab",
            "PI": self.investigator,
            "project_title": self.title,
            "abstract": self.abstract,
            "diagnoses": ";".join(sorted({sample.diagnosis for sample in self.samples})),
            "has_bulk": bool(self.bulk),
            "has_CITE": any(library.citeseq for library in self.libraries),
            "has_multiplex": any(len(library.samples) > 1 for library in self.libraries),
            "has_spatial": any(library.seq_unit == "spot" for library in self.libraries),
            "additional_restrictions": self.restrictions,
            "contact_name": ";".join(name for name, _ in self.contacts),
            "contact_email": ";".join(email for _, email in self.contacts),
            "external_accession": ";".join(accession for accession, _, _ in self.accessions),
            "external_accession_url": ";".join(url for _, url, _ in self.accessions),
            "external_accession_raw": ";".join(_boolean(raw) for _, _, raw in self.accessions),
            "citation_doi": ";".join(doi for doi, _ in self.citations),
            "citation": ";".join(citation for _, citation in self.citations),
        }
        return {key: _boolean(value) if isinstance(value, bool) else str(value) for key, value in said.items()}


def _boolean(value: bool) -> str:
    return "TRUE" if value else "FALSE"


def projects(more: int = 0) -> Iterator[Project]:
    """The five projects of the example, and `more` that are drawn by chance."""
    yield from (_everything(), _multiplexed(), _citeseq(), _locked(), _empty())
    for number in range(more):
        yield _drawn(number)


def _everything() -> Project:
    samples = (
        Sample("SCPCS999990", "4", "Ganglioglioma", "Female", "Temporal lobe"),
        Sample("SCPCS999991", "9", "Ganglioglioma", "Male", "Frontal lobe"),
        Sample("SCPCS999994", "11", "Pilocytic astrocytoma", "Female", "Cerebellum", "Recurrence"),
        Sample("SCPCS999997", "2", "Pilocytic astrocytoma", "Male", "Cerebellum", treatment="carboplatin; vincristine"),
    )
    libraries = (
        Library("SCPCL999990", ("SCPCS999990",)),
        Library("SCPCL999991", ("SCPCS999991",), "visium_v1", "spot"),
        Library("SCPCL999997", ("SCPCS999997",), "10Xv3", "nucleus"),
    )
    bulk = tuple(
        Library(f"SCPCL99998{n}", (sample,), "paired_end", "bulk")
        for n, sample in enumerate(("SCPCS999990", "SCPCS999994"))
    )
    return Project(
        "SCPCP999990", "Lindqvist", "Low-grade gliomas of childhood, cell by cell, in their tissue and in bulk",
        "Gliomas of low grade are the most common tumours of the brain in childhood, and few cells of them divide. We "
        "looked at four: at single cells of one, nuclei of another, a slice of a third, and bulk RNA of two. "
        "The slice shows where the cells lie that the others only count.",
        samples, libraries, merged=True, bulk=bulk,
        contacts=(("Ada Lindqvist", "ada.lindqvist@example.org"), ("Björn Åkesson", "bjorn.akesson@example.org")),
        accessions=(
            ("PRJNA000001", "https://example.org/PRJNA000001", True),
            ("GSE000001", "https://example.org/GSE000001", False),
        ),
        citations=(("10.0000/example.1", "Lindqvist A, Åkesson B. Low-grade gliomas, cell by cell. 2025."),),
    )  # fmt: skip


def _multiplexed() -> Project:
    samples = (
        Sample("SCPCS999992", "3", "Wilms tumor", "Female", "Kidney"),
        Sample("SCPCS999993", "5", "Wilms tumor", "Male", "Kidney"),
        Sample("SCPCS999995", "1", "Clear cell sarcoma of the kidney", "Male", "Kidney", "Recurrence"),
    )
    libraries = (
        Library("SCPCL999992", ("SCPCS999992", "SCPCS999993"), "10Xv3.1", "nucleus"),
        Library("SCPCL999995", ("SCPCS999995",), "10Xv3", "nucleus"),
    )
    return Project(
        "SCPCP999991", "Okafor", "Tumours of the kidney, some of them sequenced together",
        "Nuclei of three tumours of the kidney. Two were put on one chip and told apart later by hashtags, so that "
        "the differences between them are those of the tumours and not of the day; the third was alone.",
        samples, libraries, restrictions="Research on cancers of childhood only",
        contacts=(("Chidi Okafor", "chidi.okafor@example.org"),),
    )  # fmt: skip


def _citeseq() -> Project:
    samples = (
        Sample("SCPCS999996", "7", "Acute myeloid leukemia", "Female", "Bone marrow", "Relapse"),
        Sample("SCPCS999998", "14", "Acute myeloid leukemia", "Male", "Bone marrow"),
    )
    libraries = tuple(
        Library(f"SCPCL{sample.id[5:]}", (sample.id,), "10Xv3.1_CITE", citeseq=True) for sample in samples
    )
    return Project(
        "SCPCP999992", "Marek", "Leukaemic marrow with surface proteins",
        "Marrow of two children with acute myeloid leukaemia, one of them at relapse. Beside RNA, proteins on the "
        "surface of each cell were counted with five antibodies, which tells cells apart that look alike in RNA.",
        samples, libraries, merged=True, contacts=(("Jana Marek", "jana.marek@example.org"),),
    )  # fmt: skip


def _locked() -> Project:
    sample = Sample("SCPCS999999", "6", "Neuroblastoma", "Female", "Adrenal gland")
    return Project(
        "SCPCP999993", "Silva", "Neuroblastoma, not yet released",
        "Locked until its publication.", (sample,), (Library("SCPCL999999", (sample.id,)),), locked=True,
    )  # fmt: skip


def _empty() -> Project:
    return Project("SCPCP999994", "Tanaka", "Sarcomas, to come", "Announced; its files have not arrived yet.")


PLACES = {"Neuroblastoma": "Adrenal gland", "Rhabdomyosarcoma": "Soft tissue", "Medulloblastoma": "Cerebellum"}


def _drawn(number: int) -> Project:
    """A project of three to eight samples with one single-cell library each."""
    name = f"SCPCP{number:06d}"
    draw = chance(name)
    diagnosis = str(draw.choice(list(PLACES)))
    ids = [f"{8 * number + one:06d}" for one in range(int(draw.integers(3, 9)))]
    samples = tuple(
        Sample(
            f"SCPCS{one}",
            str(draw.integers(0, 19)),
            diagnosis,
            str(draw.choice(["Female", "Male"])),
            PLACES[diagnosis],
            str(draw.choice(["Initial diagnosis", "Recurrence"])),
        )
        for one in ids
    )
    libraries = tuple(Library(f"SCPCL{one}", (f"SCPCS{one}",)) for one in ids)
    about = f"{len(samples)} tumours, drawn by chance to make the collection larger."
    return Project(name, "Chance", f"{diagnosis}, series {number + 1}", about, samples, libraries)
