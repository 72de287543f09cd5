"""The log fields of a request's record."""

from app.record import ClassifiedPhoto, RequestRecord
from ml.predictor import Predictor


def test_a_photo_is_logged_with_its_prediction(shipped: Predictor, photo: bytes) -> None:
    prediction = shipped.predict(photo)
    record = RequestRecord(read_seconds=0.0012345, bytes=len(photo))
    record.classified.append(ClassifiedPhoto(prediction, shipped.card, 0.25, None))
    fields = record.log_fields()
    size = f"{prediction.photo.width}x{prediction.photo.height}"
    assert (fields["read_ms"], fields["wait_ms"]) == (1.23, 250)
    assert (fields["bytes"], fields["format"], fields["size"]) == (len(photo), "JPEG", size)
    assert (fields["label"], fields["accepted"]) == (prediction.label, prediction.accepted)
    assert {"decode_ms", "inference_ms"} <= set(fields)


def test_a_batch_is_logged_with_its_counts(shipped: Predictor, photo: bytes) -> None:
    record = RequestRecord(read_seconds=0.001, photos=2, failed=0)
    record.classified += [ClassifiedPhoto(shipped.predict(photo), shipped.card, 0, None)] * 2
    assert record.log_fields() == {"read_ms": 1, "wait_ms": 0, "photos": 2, "failed": 0}


def test_empty_fields_are_not_logged() -> None:
    assert RequestRecord().log_fields() == {}
    assert RequestRecord(code="no_image", bytes=5).log_fields() == {"code": "no_image"}
