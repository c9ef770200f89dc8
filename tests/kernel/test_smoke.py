def test_true(runner):
    report = runner.command("true")
    assert report.outcome == "ok"
