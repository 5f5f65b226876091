"""Tables: every value is assigned to its own image, and ambiguous tables are refused."""

import gzip
import io
import zipfile

import pytest
from helpers import raises_user_error

from neuro_noodle.data.tables import join_table, read_csv

IDS = ["a/one.png", "a/two.png", "b/three.png"]


def write_table(path, text, encoding="utf-8"):
    (path / "table.csv").write_bytes(text.encode(encoding))
    return path / "table.csv"


# -------------------------------------------------------------------------------------------------------- read_csv


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_separators_and_line_ends_do_not_change_a_table(tmp_path, delimiter, end, encoding):
    text = end.join(
        delimiter.join(row) for row in (["file", " age ", "who"], ["1.png", "3.5", "Zoë"], ["2.png", "", "Ann"])
    )
    expected = {"file": ["1.png", "2.png"], "age": ["3.5", ""], "who": ["Zoë", "Ann"]}
    table = read_csv(write_table(tmp_path, text, encoding))
    assert table == read_csv(write_table(tmp_path, text + end, encoding))
    assert table.columns == expected
    named = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}[delimiter]
    assert table.notes == (f"{tmp_path}/table.csv has 3 columns, separated by {named}",)


def test_quoted_fields_may_hold_separators_quotes_and_new_lines(tmp_path):
    text = 'file,said\n1.png,"a, ""b"";\nc"\n\n2.png,"plain"\n'
    table = read_csv(write_table(tmp_path, text)).without_empty_rows()
    assert table.columns == {"file": ["1.png", "2.png"], "said": ['a, "b";\nc', "plain"]}


def test_a_table_may_have_a_single_column(tmp_path):
    assert read_csv(write_table(tmp_path, "age\n3\n4\n")).columns == {"age": ["3", "4"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no rows; it needs a header line and a row per image"),
        ("a,b\n", "has no rows"),
        ("\n\n", "has no rows"),
        ("a,a\n1,2\n", "needs a different name for each column; its first line reads ['a', 'a']"),
        ("a, a\n1,2\n", "needs a different name for each column"),
        ("a,\n1,2\n", "needs a different name for each column"),
        (",,a\n1,2,3\n", "needs a different name for each column"),
        ("a,b\n5,1,2\n6,1,2\n", "has 2 columns, but 3 fields on line 2"),
        ("a,b\n1,2\n1,2,3\n", "has 2 columns, but 3 fields on line 3"),
        ("a,b\n\n1,2\n\n1\n", "has 2 columns, but 1 fields on line 5"),
        ('a,b\n"1\n2",3\n4\n', "has 2 columns, but 1 fields on line 4"),
        ('a,b\n1,"2\n', "cannot be read: line 2: unexpected end of data"),
        ('a,b\n1,"2"3\n', "cannot be read: line 2: ',' expected after '\"'"),
    ],
)
def test_an_invalid_table_is_refused_with_reason_and_line(tmp_path, text, message):
    with raises_user_error(f"the table {tmp_path / 'table.csv'} {message}"):
        read_csv(write_table(tmp_path, text))


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "mac-roman"])
def test_a_table_that_is_not_utf_8_is_refused(tmp_path, encoding):
    with raises_user_error("is not UTF-8 text; save it as 'CSV UTF-8'"):
        read_csv(write_table(tmp_path, "file,who\n1.png,Zoë\n", encoding))


def zipped(name, content=b"x"):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, content)
    return file.getvalue()


OPEN_DOCUMENT = b"application/vnd.oasis.opendocument.spreadsheet"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zipped("[Content_Types].xml"), "an Excel file; open it and save it as 'CSV UTF-8'"),
        (zipped("mimetype", OPEN_DOCUMENT), "a spreadsheet (OpenDocument); save it as 'CSV UTF-8'"),
        (zipped("table.csv"), "a zip archive; unpack it"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Excel file (.xls) or another document of Office; open it"),
        (gzip.compress(b"file,age\n", mtime=0), "a compressed file; unpack it"),
        (b"PAR1\x15\x04", 'a Parquet file; convert it: import pandas; pandas.read_parquet("table.csv").to_csv('),
        (b'[{"file": "1.png"}]', "a JSON file; convert it: import pandas; pandas.read_json"),
        (b'{\n  "file": {"0": "1.png"}}', "a JSON file"),
        (b"<html><table>", "an XML or HTML document"),
        ("a\n1\n".encode("utf-32"), "text in UTF-32; save it as 'CSV UTF-8'"),
    ],
)
def test_a_file_of_another_kind_is_refused_by_its_kind(tmp_path, content, message):
    (tmp_path / "table.csv").write_bytes(content)
    with raises_user_error(f"table.csv is {message}"):
        read_csv(tmp_path / "table.csv")


def test_a_table_with_nul_bytes_is_refused(tmp_path):
    with raises_user_error("table.csv holds 2 NUL bytes, so it is damaged"):
        read_csv(write_table(tmp_path, "file,age\n1.png,\0\0\n"))


def test_half_a_character_of_utf_16_is_refused(tmp_path):
    write_table(tmp_path, "file,age\n1.png,3\n", "utf-16").open("ab").write(b"x")
    with raises_user_error("is not UTF-16 text; save it as 'CSV UTF-8'"):
        read_csv(tmp_path / "table.csv")


def test_a_missing_table_or_a_folder_is_refused_by_name(tmp_path):
    with raises_user_error(f"the table {tmp_path / 'no.csv'} cannot be read: No such file"):
        read_csv(tmp_path / "no.csv")
    with raises_user_error(f"the table {tmp_path} cannot be read: Is a directory"):
        read_csv(tmp_path)


# ------------------------------------------------------------------------------------------------------ join_table


@pytest.mark.parametrize("names", [IDS, ["one.png", "two.png", "three.png"], ["one", "two", "three"]])
def test_rows_name_images_by_path_or_name_or_without_ending(tmp_path, names):
    text = "age,image\n" + "".join(f"{age},{names[age]}\n" for age in (2, 0, 1))
    assert join_table(write_table(tmp_path, text), IDS).columns == {"age": ["0", "1", "2"]}


def test_the_column_that_matches_most_images_names_them(tmp_path):
    text = "friend,me\none.png,three.png\none.png,one.png\nx,two.png\n"
    joined = join_table(write_table(tmp_path, text), IDS)
    assert joined.columns == {"friend": ["one.png", "x", "one.png"]}
    assert joined.notes[-1] == f"the column 'me' of {tmp_path}/table.csv names the images; 3 of 3 images have a row"


def test_images_without_row_and_rows_without_image_are_listed(tmp_path):
    text = "file,age\nthree.png,3\nfour.png,4\nfive.png,5\n"
    joined = join_table(write_table(tmp_path, text), IDS)
    assert (joined.columns, joined.missing) == ({"age": ["", "", "3"]}, IDS[:2])
    assert joined.notes[1:] == [
        f"the column 'file' of {tmp_path}/table.csv names the images; 1 of 3 images have a row",
        f"2 of 3 rows of {tmp_path}/table.csv name no image, such as 'five.png'",
    ]


def test_columns_with_reserved_names_are_renamed(tmp_path):
    text = "file,id,folder,age\none.png,7,x,1\n"
    expected = {"id_": ["7"], "folder_": ["x"], "age": ["1"]}
    assert join_table(write_table(tmp_path, text), IDS[:1]).columns == expected


@pytest.mark.parametrize(
    ("ids", "text", "message"),
    [
        (["000.png", "010.png"], "img,age\n0,3\n10,4\n", "img names 2 of them: '0' must read '000.png'"),
        (["a/1.png", "a/2.png"], "f,age\nC:\\a\\1.JPG,3\nC:\\a\\2.JPG,4\n", "must read 'a/1.png'"),
        (IDS, "who,age\nAnn,3\n", "names images such as a/one.png; there are who (Ann), age (3)"),
        (["a/1.png", "b/1.png", "b/2.png"], "file\n1.png\n2.png\n", "several images are called 1.png, so"),
        (["a/1.png", "a/1.jpg"], "file\n1\n", "several images are called 1, so"),
        (IDS, "file,age\none.png,1\none.png,2\n", "has several rows for 'a/one.png'"),
    ],
)
def test_a_table_with_no_or_ambiguous_names_is_refused(tmp_path, ids, text, message):
    with raises_user_error(message):
        join_table(write_table(tmp_path, text), ids)


def test_an_error_lists_some_columns_and_beginnings_of_cells(tmp_path):
    """A table may have thousands of columns."""
    names = [f"c{i}" for i in range(400)]
    with raises_user_error(", c8 (xxx") as error:
        join_table(write_table(tmp_path, ",".join(names) + "\n" + ",".join(["x" * 5000] * 400) + "\n"), IDS)
    assert str(error.value).endswith("...) and 391 more") and len(str(error.value)) < 800


def test_paths_distinguish_images_of_the_same_name(tmp_path):
    ids = ["a/1.png", "b/1.png"]
    assert join_table(write_table(tmp_path, "file,age\nb/1.png,2\na/1.png,1\n"), ids).columns == {"age": ["1", "2"]}


# ------------------------------------------------------------------------------------------------ tables as they come


def test_the_delimiter_cuts_header_and_rows_alike(tmp_path):
    """A header may hold other delimiters."""
    table = read_csv(write_table(tmp_path, "name, first;age, years\nAnn;3\nBo;4\n"))
    assert table.columns == {"name, first": ["Ann", "Bo"], "age, years": ["3", "4"]}
    table = read_csv(write_table(tmp_path, "x, px\ty, px\n1,5\t2,5\n3\t4,5\n"))
    assert table.columns == {"x, px": ["1.5", "3"], "y, px": ["2.5", "4.5"]}


def test_a_single_column_may_have_decimal_commas(tmp_path):
    assert read_csv(write_table(tmp_path, "age\n1,5\n2,25\n")).columns == {"age": ["1.5", "2.25"]}


def test_decimal_commas_are_read_with_a_note(tmp_path):
    text = "file;x;size;when\none.png;1,5;1,234;3\ntwo.png;-0,25;2,345;4\n"
    table = read_csv(write_table(tmp_path, text))
    assert table.columns["x"] == ["1.5", "-0.25"]
    assert table.columns["size"] == ["1,234", "2,345"] and table.columns["when"] == ["3", "4"]
    assert table.notes[1:] == (f"numbers with decimal commas in {tmp_path}/table.csv: x",)


def test_a_comma_separated_table_has_no_decimal_commas(tmp_path):
    assert read_csv(write_table(tmp_path, 'file,x\none.png,"1,5"\n')).columns["x"] == ["1,5"]


def test_empty_rows_are_left_out_with_their_number(tmp_path):
    table = read_csv(write_table(tmp_path, "\nfile;age\none.png;1\n;\n\ntwo.png;\n ; \n"))
    assert table.n_rows == 5
    kept = table.without_empty_rows()
    assert kept.columns == {"file": ["one.png", "two.png"], "age": ["1", ""]}
    assert kept.notes[-1] == f"left out 3 empty rows of {tmp_path}/table.csv"
    assert kept.without_empty_rows() == kept


def test_rows_without_a_name_are_counted(tmp_path):
    joined = join_table(write_table(tmp_path, "file,age\none.png,1\nn/a,2\n,3\n"), IDS)
    assert joined.columns == {"age": ["1", "", ""]}
    assert joined.notes[-1] == f"2 of 3 rows of {tmp_path}/table.csv have no name in 'file' and are left out"


def test_an_image_may_be_called_like_a_missing_mark(tmp_path):
    table = write_table(tmp_path, "element,mass\nNA,23\nK,39\n")
    assert join_table(table, ["K.png", "NA.png"]).columns == {"mass": ["39", "23"]}


def test_spaces_and_accents_do_not_keep_a_row_from_its_image(tmp_path):
    table = write_table(tmp_path, "file,age\nZo\u00eb.png ,1\nBo.png,2\n")
    assert join_table(table, ["Bo.png", "Zoe\u0308.png"]).columns == {"age": ["2", "1"]}


@pytest.mark.parametrize("line", ["sep=;", '"sep=;"', "SEP=;"])
def test_a_first_line_names_the_delimiter(tmp_path, line):
    """As Excel writes it; lines are counted as in the file."""
    table = read_csv(write_table(tmp_path, f"{line}\r\nfile;a,b,c\r\none.png;1,2,3\r\n"))
    assert table.columns == {"file": ["one.png"], "a,b,c": ["1,2,3"]}
    assert table.notes == (f"{tmp_path}/table.csv has 2 columns, separated by semicolons",)
    with raises_user_error("but 1 fields on line 3"):
        read_csv(write_table(tmp_path, f"{line}\nfile;age\none.png\n"))


def test_any_delimiter_can_be_named(tmp_path):
    table = read_csv(write_table(tmp_path, "sep=:\nfile:age\none.png:3\n"))
    assert table.columns == {"file": ["one.png"], "age": ["3"]} and table.notes[0].endswith("separated by ':'")


def test_empty_columns_without_a_name_are_left_out(tmp_path):
    """Spreadsheets write them, some only below the header."""
    for header in ("file,age,,", ",file,age", "file,age"):
        row = ",one.png,3" if header[0] == "," else "one.png,3" + "," * max(1, header.count(",") - 1)
        table = read_csv(write_table(tmp_path, f"{header}\n{row}\n{row}\n"))
        assert table.columns == {"file": ["one.png"] * 2, "age": ["3"] * 2}
        assert "left out" in table.notes[-1] and table.notes[-1].endswith("without a name")


# -------------------------------------------------------------------------------- names of rows, from pandas and R

NAMED_ROWS = [
    ",age\n{0},1\n{1},2\n",
    '"","age"\n"{0}",1\n"{1}",2\n',
    '"age"\t"sex"\n"{0}"\t1\t"f"\n"{1}"\t2\t"m"\n',
    '"age" "sex"\n"{0}" 1 "f"\n"{1}" 2 "m"\n',
]


@pytest.mark.parametrize("text", NAMED_ROWS)
def test_a_first_column_without_a_name_may_name_images(tmp_path, text):
    path = write_table(tmp_path, text.format("two", "one"))
    joined = join_table(path, IDS)
    assert joined.columns["age"] == ["2", "1", ""]
    assert f"the first column of {path} has no name and is called 'index'" in joined.notes
    assert joined.columns == join_table(path, IDS, "index").columns


@pytest.mark.parametrize(
    "text", ['{0}"file" "age"\n{1}"one.png" 1\n{2}"two.png" 2\n', ",file,age\n0,one.png,1\n1,two.png,2\n"]
)
def test_a_first_column_without_any_name_of_an_image_is_left_out(tmp_path, text):
    path = write_table(tmp_path, text.format("", '"1" ', '"2" '))
    joined = join_table(path, IDS)
    assert joined.columns == {"age": ["1", "2", ""]}
    note = f"left out the first column of {path}, which has no name; to use it, name it in the first line"
    assert note in joined.notes and note in read_csv(path).notes and list(read_csv(path).columns) == ["file", "age"]


def test_unquoted_names_of_rows_are_numbers_from_one(tmp_path):
    table = read_csv(write_table(tmp_path, "file\tage\n1\tone.png\t3\n2\ttwo.png\t4\n"))
    assert table.columns == {"file": ["one.png", "two.png"], "age": ["3", "4"]}


def test_the_name_of_an_unnamed_column_is_free(tmp_path):
    joined = join_table(write_table(tmp_path, ",index\none,1\ntwo,2\n"), IDS)
    assert joined.columns == {"index": ["1", "2", ""]} and "is called 'index_'" in joined.notes[1]


def test_an_unnamed_column_that_numbers_images_is_a_candidate(tmp_path):
    with raises_user_error("could name the images: index (7 images), file (8 images); choose one, such as"):
        join_table(write_table(tmp_path, ",file\n" + "".join(f"{i},{i + 1}\n" for i in range(8))), NUMBERED)


# ------------------------------------------------------------------------------------------- the column of the names

NUMBERED = [f"{i}.png" for i in range(1, 9)]
ROWS = list(zip(range(1, 9), (3, 1, 8, 2, 7, 5, 4, 6), strict=True))


def trials(path, name="{}"):
    return write_table(path, "trial,shown\n" + "".join(f"{trial},{name.format(shown)}\n" for trial, shown in ROWS))


def test_two_columns_that_may_name_the_images_are_refused(tmp_path):
    with raises_user_error("could name the images: trial (8 images), shown (8 images); choose one, such as") as error:
        join_table(trials(tmp_path), NUMBERED)
    assert "metadata=table.csv key=trial" in str(error.value)


@pytest.mark.parametrize("key", ["trial", "shown"])
def test_key_says_which_column_names_the_images(tmp_path, key):
    joined = join_table(trials(tmp_path), NUMBERED, key)
    expected = [str(trial) for _, trial in sorted((shown, trial) for trial, shown in ROWS)]
    assert joined.columns == ({"trial": expected} if key == "shown" else {"shown": [str(shown) for _, shown in ROWS]})


@pytest.mark.parametrize("n_unknown", [0, 2])
def test_file_names_with_ending_win_over_numbers(tmp_path, n_unknown):
    """Also if some of them name no image."""
    table = trials(tmp_path, "{}.png")
    text = table.read_text()
    for shown in range(n_unknown):
        text = text.replace(f",{shown + 1}.png", f",practice{shown}.png")
    table.write_text(text)
    joined = join_table(table, NUMBERED)
    assert list(joined.columns) == ["trial"] and len(joined.missing) == n_unknown


def test_a_few_file_names_do_not_win_over_names_of_all(tmp_path):
    text = "who,mask\n" + "".join(f"{i},{'1.png' if i < 3 else 'none'}\n" for i in range(1, 9))
    assert list(join_table(write_table(tmp_path, text), NUMBERED).columns) == ["mask"]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("show", "key=show is no column of"),
        ("age", "key=age: this column of"),
    ],
)
def test_a_key_that_names_nothing_is_refused(tmp_path, key, message):
    with raises_user_error(message):
        join_table(write_table(tmp_path, "shown,age\n1,40\n2,50\n"), NUMBERED, key)
