"""Raw rows asked of a run, of an exported folder or of a server, one or millions.

    from mmkeras import answering

    answers = answering.predict("served", frame)  # a DataFrame of a DataFrame

    pets = answering.source("served")  # millions of rows, going on after a kill
    rows = answering.questions(pets, "new.csv")
    answering.write(pets, rows, "answers.parquet")

Files: `sources` who answers, `asking` rows in batches, in their order, `telling` an
answer for people and as a table, `parts` the file that is written, and goes on.
"""

from mmkeras.answering.asking import answered, batched, is_file, predict, questions
from mmkeras.answering.parts import AnswersError, shard_path, write
from mmkeras.answering.sources import is_url, sent, source
from mmkeras.answering.telling import shown, table, told

__all__ = [
    "AnswersError",
    "answered",
    "batched",
    "is_file",
    "is_url",
    "predict",
    "questions",
    "sent",
    "shard_path",
    "shown",
    "source",
    "table",
    "told",
    "write",
]
