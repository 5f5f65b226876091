"""Ridge regression from pixels: missing targets, and images that allow no regression."""

import torch

from neuro_noodle.objectives.pixels import fit_pixel_ridge


def test_a_column_with_few_targets_is_predicted_by_its_mean():
    images, target = torch.rand(40, 1, 6, 5), torch.randn(40, 2)
    target[4:, 1] = torch.nan  # four are fewer than the folds
    predicted = fit_pixel_ridge(images, target)(torch.rand(3, 1, 6, 5))
    assert torch.allclose(predicted[:, 1], target[:4, 1].mean().expand(3), atol=1e-6)
    alone = fit_pixel_ridge(images, target[:, :1])(torch.rand(3, 1, 6, 5))
    assert alone.shape == (3, 1) and predicted.shape == (3, 2)


def test_identical_images_predict_the_mean():
    target = torch.randn(20, 3)
    predict = fit_pixel_ridge(torch.full((20, 1, 6, 5), 0.5), target)
    assert torch.allclose(predict(torch.rand(4, 1, 6, 5)), target.mean(0).expand(4, 3), atol=1e-6)


def test_missing_targets_are_left_out_column_by_column():
    images = torch.rand(60, 1, 6, 5)
    target = images.flatten(1)[:, :2] * 3 + 1
    holes = target.clone()
    holes[::4, 1] = torch.nan
    predicted = fit_pixel_ridge(images, holes)(images)
    assert torch.allclose(predicted, target, atol=0.01)
    complete = fit_pixel_ridge(images, target)(images)
    assert torch.allclose(predicted[:, 0], complete[:, 0], atol=1e-5)
