"""Whitening over the global batch: hand-computed, masked, and independent of the number of ranks."""

import pytest
import torch

from rlhf.ppo.whitening import Moments, masked_moments, whiten

VALUES = torch.tensor([[1.0, 2.0, 99.0], [3.0, 99.0, 99.0]])
MASK = torch.tensor([[True, True, False], [True, False, False]])


def test_moments_by_hand():
    moments = masked_moments(VALUES, MASK)
    assert moments.mean.item() == pytest.approx(2.0)
    assert moments.variance.item() == pytest.approx(2 / 3)
    assert moments.std.item() == pytest.approx((2 / 3) ** 0.5)


def test_whitened_values_by_hand():
    whitened = whiten(VALUES, MASK, masked_moments(VALUES, MASK))
    step = (3 / 2) ** 0.5
    torch.testing.assert_close(whitened, torch.tensor([[-step, 0.0, 0.0], [step, 0.0, 0.0]]), atol=1e-6, rtol=0)


def test_moments_do_not_depend_on_how_rows_are_dealt_to_ranks():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(8, 5, generator=generator) * 0.01 + 1000  # a small variance on a large mean
    mask = torch.rand(8, 5, generator=generator) < 0.5
    whole = masked_moments(values, mask)

    def simulate(rank: int) -> Moments:
        """Answer the two reductions of `rank` with sums over both ranks."""
        shares = [(values[0::2], mask[0::2]), (values[1::2], mask[1::2])]
        counted = [share[share_mask] for share, share_mask in shares]
        count_and_total = sum(torch.stack([torch.tensor(float(len(share))), share.sum()]) for share in counted)
        mean = count_and_total[1] / count_and_total[0]
        answers = iter([count_and_total, sum((share - mean).square().sum() for share in counted)])
        return masked_moments(*shares[rank], reduce_sum=lambda _: next(answers))

    for rank in (0, 1):
        torch.testing.assert_close(simulate(rank).mean, whole.mean)
        torch.testing.assert_close(simulate(rank).variance, whole.variance, rtol=1e-4, atol=0)
    torch.testing.assert_close(whole.variance, values[mask].double().var(correction=0).float(), rtol=1e-4, atol=0)


def test_a_constant_batch_whitens_to_zeros():
    constant, mask = torch.full((4,), 7.0), torch.ones(4, dtype=torch.bool)
    assert torch.equal(whiten(constant, mask, masked_moments(constant, mask)), torch.zeros(4))


def test_an_empty_mask_and_unequal_shapes_are_refused():
    with pytest.raises(ValueError, match="counts nothing"):
        masked_moments(VALUES, torch.zeros_like(MASK))
    with pytest.raises(ValueError, match="differ in shape"):
        masked_moments(VALUES, MASK[:, :2])
