"""The uses of a seed: their numbers decide every weight, mask and order of a run."""

from train import seeds


def test_each_use_of_a_seed_keeps_its_number():
    """Another number would give other results from the same configuration."""
    uses = {name: value for name, value in vars(seeds).items() if name.isupper()}
    assert uses == {
        "INITIAL_WEIGHTS": 1,
        "RANDOM_SCORES": 2,
        "SUBSET": 3,
        "SHUFFLE": 4,
        "REINIT": 5,
        "ORDER": 6,
        "PICTURES": 7,
        "DROPOUT": 8,
    }
    assert max(uses, key=uses.get) == "DROPOUT"  # rank r takes the number 8 + r


def test_equal_keys_give_a_committed_seed():
    """So that a run of today and one of next year are the same."""
    assert seeds.seed_of(0, seeds.INITIAL_WEIGHTS) == 2918264622725855778
    assert seeds.seed_of(0, seeds.DROPOUT) == 71300412144211962
    assert seeds.seed_of(3, seeds.ORDER, 12) == 6095054934504117783
