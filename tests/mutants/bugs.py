"""Thirty bugs, each a small change of the program, and the test that must notice it.

`before` stands once in its file; `test_mutants` puts `after` in its place in a copy of the program, runs the test
there, and expects it to fail. When the program changes, so does the bug here: a fast test says which no longer fits.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bug:
    """What is wrong, where, and who notices."""

    name: str
    file: str
    before: str
    after: str
    test: str


GUARD, LOGIN, TABLE = "tests/app/test_guard.py", "tests/app/test_login.py", "tests/security/test_attack_table.py"
FILES, SAMPLING = "tests/core/test_files.py", "tests/core/inference/test_sampling.py"
CRASH = "tests/faults/test_crash_points.py"
RESUME, DATABASE = "tests/core/trainer/test_resume.py", "core/database.py"

BUGS = (
    Bug(
        "a file gets its name before it is flushed",
        "core/files.py",
        "        sync(temporary)\n        os.replace(temporary, path)",
        "        os.replace(temporary, path)\n        sync(path)",
        f"{FILES}::test_a_file_is_on_the_disk_before_it_has_its_name_and_its_name_before_the_write_ends",
    ),
    Bug(
        "a file is never flushed",
        "core/files.py",
        "        sync(temporary)\n",
        "",
        f"{FILES}::test_a_file_is_on_the_disk_before_it_has_its_name_and_its_name_before_the_write_ends",
    ),
    Bug(
        "a name is never flushed",
        "core/files.py",
        "    sync(path.parent)\n",
        "",
        f"{FILES}::test_a_file_is_on_the_disk_before_it_has_its_name_and_its_name_before_the_write_ends",
    ),
    Bug(
        "secrets are readable by all",
        "core/files.py",
        "0o600 if is_private else 0o666",
        "0o644",
        f"{GUARD}::test_the_secret_is_made_once_and_private",
    ),
    Bug(
        "a replaced model keeps the config of the old one",
        "core/model/checkpoint.py",
        "        (folder / CONFIG).unlink(missing_ok=True)\n",
        "",
        f"{CRASH}::test_death_before_any_call_leaves_the_old_state_or_the_new[model export-few]",
    ),
    Bug(
        "the hashes of a checkpoint are not looked at",
        "core/trainer/run_folder.py",
        "all(sha256_file(folder / name) == digest for name, digest in manifest.items())",
        "all((folder / name).exists() for name in manifest)",
        f"{RESUME}::test_a_torn_checkpoint_is_passed_over",
    ),
    Bug(
        "the random state is not restored",
        "core/trainer/rng.py",
        '    torch.set_rng_state(stored[f"{PREFIX}cpu.{ranks.rank}"].read())\n',
        "",
        "tests/core/trainer/test_rng.py::test_a_restored_state_draws_what_would_have_come_next",
    ),
    Bug(
        "the first migration is left out",
        DATABASE,
        "self.migrations[version:], version + 1",
        "self.migrations[version + 1 :], version + 2",
        "tests/app/test_preferences.py",
    ),
    Bug(
        "an error in a transaction is committed",
        DATABASE,
        'if connection.in_transaction:\n                    connection.execute("ROLLBACK")',
        'if connection.in_transaction:\n                    connection.execute("COMMIT")',
        "tests/core/test_database.py",
    ),
    Bug(
        "a route of Gradio's takes uploads",
        "app/allowed_routes.py",
        "(queue/join|",
        "(upload|queue/join|",
        f"{TABLE}::test_what_reads_files_fetches_addresses_or_documents_itself_is_closed",
    ),
    Bug(
        "a route needs no cookie",
        "app/guard.py",
        "(LOGIN_PATH, *OPEN_PATHS) and not",
        '(LOGIN_PATH, *OPEN_PATHS, "/config") and not',
        f"{GUARD}::test_without_the_cookie_only_health_answers",
    ),
    Bug(
        "any host is served",
        "app/own_address.py",
        "len(hosts) != 1 or hosts[0].lower() not in self._hosts",
        "len(hosts) != 1",
        f"{GUARD}::test_other_names_are_refused_even_with_the_cookie",
    ),
    Bug(
        "an origin need only begin like ours",
        "app/own_address.py",
        "if any(origin.lower() not in self.origins for",
        'if any(not origin.startswith("http://127.0.0.1") for',
        f"{GUARD}::test_foreign_origins_are_refused",
    ),
    Bug(
        "what changes something need not say where it comes from",
        "app/own_address.py",
        "bool(origins or sites) or not is_page",
        "True",
        f"{GUARD}::test_whatever_changes_something_says_where_it_comes_from",
    ),
    Bug(
        "the login link works again and again",
        "app/guard.py",
        "            self._login_token = None\n",
        "",
        f"{GUARD}::test_the_login_link_works_once_and_gives_a_strict_cookie",
    ),
    Bug(
        "the cookie goes with requests of other sites",
        "app/guard.py",
        'samesite="strict"',
        'samesite="lax"',
        f"{GUARD}::test_the_login_link_works_once_and_gives_a_strict_cookie",
    ),
    Bug(
        "the page may send anywhere",
        "app/guard_headers.py",
        "\"connect-src 'self'; img-src",
        '"connect-src *; img-src',
        f"{GUARD}::test_every_answer_carries_the_policy",
    ),
    Bug(
        "a key that ours begins with opens the API",
        "app/guard.py",
        "_is_equal(given[0][2].strip(), self._key)",
        "self._key.startswith(given[0][2].strip())",
        f"{GUARD}::test_without_the_right_key_the_api_answers_401_in_openais_form",
    ),
    Bug(
        "bodies are not counted",
        "app/bounded_body.py",
        "self._num_bytes += len(message",
        "self._num_bytes = len(message",
        f"{GUARD}::test_a_body_without_a_length_is_counted_and_ended",
    ),
    Bug(
        "tries of passwords are not counted",
        "app/login.py",
        "        self._wrong.add(address, attempt)\n",
        "",
        f"{LOGIN}::test_wrong_passwords_are_few_a_minute_and_the_right_one_waits_too",
    ),
    Bug(
        "a dropped file may climb out of its folder",
        "app/dropped_files.py",
        'part not in ("..", "/")',
        'part not in ("/",)',
        "tests/app/test_library.py::test_a_name_cannot_leave_the_folder_of_copies",
    ),
    Bug(
        "text of documents is shown as markup",
        "app/passages.py",
        "        return html.escape(text)",
        "        return text",
        "tests/app/test_passages.py",
    ),
    Bug(
        "names of others are shown as markup",
        "app/format.py",
        "    return html.escape(text)",
        "    return text",
        "tests/app/test_format.py::test_what_others_wrote_is_no_markup",
    ),
    Bug(
        "a downloaded file's hash is not looked at",
        "core/hub/listing.py",
        "            return self.sha256 == self._file.sha256",
        "            return True",
        "tests/core/hub/test_hostile_hub.py",
    ),
    Bug(
        "a citation begins one character late",
        "rag/citations.py",
        "hit.start + start, hit.start + end",
        "hit.start + start + 1, hit.start + end",
        "tests/rag/test_citations.py",
    ),
    Bug(
        "what one adapter computed is reused by another",
        "core/inference/prefix_cache.py",
        "self._roots.setdefault(adapter,",
        "self._roots.setdefault(None,",
        "tests/core/inference/test_prefix_cache.py::test_adapters_have_trees_of_their_own",
    ),
    Bug(
        "a prefix is reused beyond where texts part",
        "core/inference/prefix_cache.py",
        "            best, longest = child, length",
        "            best, longest = child, len(child.ids)",
        "tests/core/inference/test_prefix_cache.py::test_a_match_ends_at_the_very_token_where_texts_part",
    ),
    Bug(
        "a process is known by its number alone",
        "studio/identity.py",
        "created is not None and abs(created - self.create_time) < TOLERANCE_S",
        "created is not None",
        "tests/studio/test_identity.py::test_another_process_of_the_same_number_is_not_meant",
    ),
    Bug(
        "a link out of a model's folder is followed",
        "core/model/folder.py",
        "if path.is_symlink() and real not in",
        "if False and real not in",
        "tests/core/model/test_folder.py::test_a_link_out_of_the_folder_is_refused",
    ),
    Bug(
        "what a template builds is not added up",
        "core/data/template_sandbox.py",
        "self._spent.made += size",
        "pass",
        "tests/core/data/test_template_sandbox.py::test_slices_of_a_long_value_are_counted",
    ),
)
