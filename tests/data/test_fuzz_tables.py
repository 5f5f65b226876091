"""Tables that were changed at random are refused or noted, never joined to the wrong images without a word."""

from benchmarks.fuzz_tables import main


def test_no_change_of_a_table_loses_values_silently(capsys):
    main(180, seed=5)
    printed = capsys.readouterr()
    assert printed.err == "" and "noted" in printed.out and "refused" in printed.out
