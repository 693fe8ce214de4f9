"""Progress goes to stderr, and to a terminal only where there is one."""

from mmkeras import progress


def test_epochs_tells_a_line_an_epoch(capsys):
    epochs = progress.Epochs("fusion", 7)
    epochs.set_params({"epochs": 2, "steps": 3})
    epochs.on_epoch_begin(1)
    epochs.on_epoch_end(1, {"loss": 0.25, "accuracy": 0.5})
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("fusion  epoch 2/7  loss 0.2500  accuracy 0.5000  0.")


def test_a_bar_is_silent_where_there_is_no_terminal(capsys):
    with progress.bar("decode", 3) as advance:
        advance(3, 3)
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_a_terminal_leaves_nothing_behind(monkeypatch):
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    epochs = progress.Epochs("fusion", 2)
    epochs.set_params({"epochs": 1, "steps": 2})
    epochs.on_epoch_begin(0)
    epochs.on_train_batch_end(0, {"loss": 1.0})
    assert epochs.bars.tasks[0].completed == 1
    assert epochs.bars.tasks[0].fields["loss"] == "loss 1.000"
    epochs.on_epoch_end(0, {"loss": 1.0})
    assert epochs.bars is None
    epochs.close()  # once more does no harm
