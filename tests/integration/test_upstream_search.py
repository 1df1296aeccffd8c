"""Where other tools leave a search in the wrong state, and which tests show that ours does not.

``CASES`` has every case of Ray Tune, Optuna and Syne Tune that touches the search, with the tests
of what they do (on the installed versions) and of what a study here does.
"""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
TUNE, OPTUNA, STATES = (
    f"integration/test_upstream_{name}.py" for name in ("tune", "optuna", "states")
)
POOL, RESUME = "integration/test_pool.py", "integration/test_resume.py"
SEARCHER, CONDUCTOR, SCHEDULER, WARM = (
    f"unit/test_{name}.py" for name in ("searcher", "conductor", "scheduler", "warm")
)

CASES = {
    "a stopped trial is told as complete": (
        f"{TUNE}::test_optuna_search_tells_a_stopped_trial_as_complete_with_its_early_value",
        f"{STATES}::test_every_trial_ends_in_the_state_that_it_deserves",
        f"{STATES}::test_the_sampler_hears_of_a_stopped_trial_as_stopped_where_it_stood",
        f"{CONDUCTOR}::test_a_stop_is_in_the_log_before_the_actor_hears_of_it",
    ),
    "NaN leaves a trial running, +inf completes it": (
        f"{TUNE}::test_optuna_search_leaves_a_nan_trial_running_and_completes_an_infinite_one",
        f"{OPTUNA}::test_told_alone_nan_fails_a_trial_and_an_infinity_completes_it",
        f"{STATES}::test_every_trial_ends_in_the_state_that_it_deserves",
        f"{POOL}::test_what_goes_wrong_in_a_training_fails_its_trial_and_leaves_the_process_warm",
        f"{SEARCHER}::test_a_trial_without_a_finite_point_teaches_nothing",
    ),
    "evaluated points of two objectives are refused": (
        f"{TUNE}::test_optuna_search_takes_no_evaluated_points_of_two_objectives",
        f"{WARM}::test_tpe_begins_where_earlier_studies_were_good",
        "integration/test_warm_start.py"
        "::test_earlier_trials_inform_the_sampler_and_count_for_nothing_else",
    ),
    "a reopened study repeats points and draws and keeps zombies": (
        f"{TUNE}::test_a_reopened_optuna_search_repeats_points_and_draws_and_keeps_zombies",
        f"{OPTUNA}::test_the_same_seed_draws_the_same_again_whatever_is_known",
        f"{STATES}::test_a_study_that_is_taken_over_repeats_no_number_and_no_draw",
        f"{RESUME}::test_a_study_killed_at_two_trials_at_once_keeps_all_and_repeats_nothing",
    ),
    "several metrics give no intermediate values, and nothing is pruned": (
        f"{TUNE}::test_optuna_search_gives_no_intermediate_values_of_several_metrics",
        f"{TUNE}::test_optuna_search_never_prunes",
        f"{OPTUNA}::test_a_trial_of_two_objectives_can_be_neither_reported_nor_pruned",
        f"{STATES}::test_the_scheduler_hears_of_all_heads_after_every_epoch",
    ),
    "a database ahead of Tune's snapshot can never be restored": (
        f"{TUNE}::test_a_database_ahead_of_tunes_snapshot_ends_the_restored_run",
        f"{TUNE}::test_tunes_snapshots_of_a_searcher_are_pickles",
        f"{STATES}::test_nothing_is_restored_from_a_snapshot_of_tune_or_a_database_of_optuna",
        "unit/test_conductor_crashes.py"
        "::test_a_study_that_is_cut_before_any_write_ends_with_the_table_of_an_undisturbed_one",
    ),
    "ASHA never stops a NaN": (
        f"{TUNE}::test_asha_lets_a_nan_go_on_and_stops_an_infinite_loss",
        f"{SCHEDULER}::test_a_loss_that_is_not_finite_is_stopped_even_if_it_is_first",
        f"{SCHEDULER}::test_a_point_that_is_not_finite_counts_as_the_worst_of_its_rung",
    ),
    "a scheduler takes one metric": (
        f"{TUNE}::test_a_scheduler_takes_one_metric",
        f"{SCHEDULER}::test_an_earlier_front_is_before_a_better_mean",
    ),
    "a custom searcher keeps one trial pending": (
        f"{TUNE}::test_a_custom_searcher_keeps_one_trial_pending_unless_told_otherwise",
        f"{TUNE}::test_our_searcher_never_leaves_the_number_of_pending_trials_to_tune",
    ),
    "a log scale drops its step, ints lose their upper bound, nested names get a slash": (
        f"{TUNE}::test_optuna_search_drops_a_step_on_a_log_scale_and_the_upper_bound_of_ints",
        f"{OPTUNA}::test_a_step_on_a_log_scale_is_refused",
        "unit/test_space.py::test_a_space_that_exists_is_valid",
        f"{SEARCHER}::test_both_ends_of_a_range_of_ints_are_drawn",
        f"{STATES}::test_what_other_tools_bend_is_refused_in_a_space",
    ),
    "the best result is of one metric, of the last epoch, or of a sole failed trial": (
        f"{TUNE}::test_the_best_result_of_a_sole_trial_is_that_trial_even_if_it_failed",
        f"{TUNE}::test_the_best_trial_is_of_the_last_epoch_or_of_the_best_epoch_of_each_metric",
        f"{OPTUNA}::test_two_objectives_have_a_front_and_no_best_trial",
        "unit/test_results.py"
        "::test_without_a_candidate_the_message_counts_what_became_of_the_trials",
        "unit/test_results.py"
        "::test_points_are_those_whose_weights_are_kept_and_none_of_a_failed_trial",
    ),
    "a retry tells the scheduler again, from epoch 1 on": (
        f"{CONDUCTOR}::test_an_epoch_that_is_trained_again_is_decided_once",
        f"{SCHEDULER}::test_deciding_again_gives_the_same_verdict_and_records_nothing",
    ),
    "only the Stopper sees every result; errors of our code come out as text": (
        f"{POOL}::test_errors_of_our_own_code_come_out_of_tune_as_they_were_raised",
        f"{CONDUCTOR}::test_what_is_known_of_the_trials_is_always_what_the_log_says",
    ),
    "None means not now, FINISHED means never": (
        f"{TUNE}::test_none_means_not_now_and_finished_means_never",
        f"{CONDUCTOR}::test_none_means_not_now_and_finished_means_never",
    ),
    "what a pruned trial reached is lost": (
        f"{OPTUNA}::test_tpe_puts_every_complete_trial_before_every_pruned_one",
        f"{OPTUNA}::test_a_pruned_trial_of_two_objectives_is_bad_whatever_it_reached",
        f"{OPTUNA}::test_a_pruned_trial_of_two_objectives_with_intermediate_values_ends_the_sampler",
        f"{SEARCHER}::test_a_point_that_a_trial_reached_is_used_whatever_ended_it",
    ),
    "TPE takes parameters one by one for several objectives": (
        f"{OPTUNA}::test_tpe_takes_parameters_together_for_one_objective_and_one_by_one_for_several",
    ),
    "a value outside its distribution is refused": (
        f"{OPTUNA}::test_a_value_outside_its_distribution_is_refused",
        f"{SEARCHER}::test_a_trial_that_does_not_lie_in_the_space_is_left_out",
        f"{SEARCHER}::test_every_suggestion_lies_in_the_space_and_survives_json",
        f"{WARM}::test_a_config_is_taken_if_it_lies_in_the_space",
    ),
    "sampler and pruner are not kept with a study": (
        f"{OPTUNA}::test_a_study_does_not_keep_its_sampler_nor_its_pruner",
        "unit/test_study.py::test_only_the_budget_may_grow_and_the_place_change",
    ),
    "a journal cannot be loaded after one short write": (
        f"{OPTUNA}::test_a_journal_cannot_be_loaded_after_one_short_write",
        "unit/test_crash_points.py::test_nothing_acknowledged_is_lost_at_any_crash_point",
        "unit/test_log_replay.py::test_a_study_goes_on_after_a_failure_of_any_operation",
    ),
    "Tune unpickles the error of a trial from a file that others may have put there": (
        f"{TUNE}::test_tune_unpickles_what_lies_under_the_name_of_an_error_it_has_written",
        f"{TUNE}::test_tune_gives_the_error_itself_to_the_trial_before_it_asks_anybody_what_to_do",
        "unit/test_losing.py::test_tune_hands_the_error_itself_over_and_writes_none",
        "integration/test_second_user.py"
        "::test_what_is_planted_for_the_error_of_a_lost_process_is_never_read",
    ),
    "Tune writes in a folder where every user may write": (
        f"{TUNE}::test_tune_writes_before_it_copies_where_the_name_of_the_session_folder_leads",
        f"{TUNE}::test_a_trainable_makes_its_folder_where_we_make_none",
        f"{POOL}::test_nothing_of_ours_lies_in_the_folder_of_a_ray_that_is_joined",
    ),
    "MOASHA stops newcomers that dominate all": (
        f"{STATES}::test_moasha_stops_newcomers_that_dominate_all",
        f"{SCHEDULER}::test_a_newcomer_that_dominates_all_points_of_its_rung_is_never_stopped",
    ),
}
"""Case -> tests, relative to ``tests/``."""


@pytest.mark.parametrize("case", CASES)
def test_every_case_has_its_tests(case):
    for test in CASES[case]:
        path, _, name = test.partition("::")
        tree = ast.parse((TESTS / path).read_text())
        names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert name in names, test


@pytest.mark.parametrize("path", [TUNE, OPTUNA, STATES])
def test_every_test_of_upstream_behaviour_belongs_to_a_case(path):
    tree = ast.parse((TESTS / path).read_text())
    names = {n.name for n in tree.body if isinstance(n, ast.FunctionDef) and "test" in n.name[:4]}

    named = {test.partition("::")[2] for tests in CASES.values() for test in tests}
    assert names <= named
