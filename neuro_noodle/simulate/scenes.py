"""Draw grey scenes with the statistics of photographs: textured and shaded objects of all sizes that hide each other.

Without the texture these are dead leaves, whose edges and power spectrum, about 1 / frequency**2, resemble those of
photographs of nature (Lee, Mumford & Huang 2001, doi:10.1023/A:1011109015675). The outlines range from ellipses to
rectangles, from round to elongated.
"""

import numpy as np
from PIL import Image, ImageFilter

HEIGHT, WIDTH = 427, 640  # of a scene, px
N_LEAVES = 6000  # enough to hide most of the background
RADIUS = (2, 150)  # half the longer axis, px; its distribution falls with the third power
ROUNDNESS = (0.1, 1)  # shorter axis divided by the longer one
CORNERS = (2, 8)  # exponent of the outline: 2 is an ellipse, 8 nearly a rectangle
GREY = (20, 235)  # mean grey level of a leaf
SHADING = 30  # sd over leaves of the difference in grey level between the middle and the lit end
TEXTURE = (2, 25)  # sd of a leaf's texture in grey levels
BLUR_PX = 0.4  # sd of the blur of the whole scene, as by a lens


def texture(generator: np.random.Generator) -> np.ndarray:
    """Return periodic noise (HEIGHT, WIDTH) with mean 0, sd 1 and an amplitude of 1 / frequency."""
    frequency = np.hypot(np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH))  # (HEIGHT, WIDTH // 2 + 1)
    frequency[0, 0] = np.inf
    noise = np.fft.irfft2(np.fft.rfft2(generator.standard_normal((HEIGHT, WIDTH))) / frequency, (HEIGHT, WIDTH))
    return noise / noise.std()


def random_leaves(generator: np.random.Generator) -> np.ndarray:
    """Return the leaves from back to front, (N_LEAVES, 9).

    The columns are x, y, longer and shorter half axis in px, angle in radians, exponent of the outline, grey level,
    shading and sd of the texture in grey levels.
    """
    uniform = generator.random((N_LEAVES, 7))
    near, far = (1 / radius**2 for radius in RADIUS)
    radius = (near + (far - near) * uniform[:, 2]) ** -0.5
    low, high = np.transpose([ROUNDNESS, (0, np.pi), np.log(CORNERS), GREY])
    roundness, angle, corners, grey = (low + (high - low) * uniform[:, 3:]).T
    quietest, loudest = TEXTURE
    roughness = generator.uniform(quietest, loudest, N_LEAVES)
    shading = SHADING * generator.standard_normal(N_LEAVES)
    x, y = uniform[:, 0] * WIDTH, uniform[:, 1] * HEIGHT
    return np.stack([x, y, radius, radius * roundness, angle, np.exp(corners), grey, shading, roughness], 1)


def draw_scene(generator: np.random.Generator) -> Image.Image:
    """Return a random grey scene."""
    rough = texture(generator)
    scene = np.mean(GREY) + TEXTURE[1] * rough  # the background
    offsets = generator.integers([HEIGHT, WIDTH], size=(N_LEAVES, 2)).tolist()
    for leaf, offset in zip(random_leaves(generator).tolist(), offsets, strict=True):
        x, y, long, short, angle, corners, grey, shading, roughness = leaf
        reach = 1.5 * long + 1  # to the corner of a square
        top, left = max(0, int(y - reach)), max(0, int(x - reach))
        area = scene[top : int(y + reach) + 1, left : int(x + reach) + 1]  # a view
        rows, columns = (np.arange(length) for length in area.shape)
        dx, dy = columns + left + 0.5 - x, rows[:, None] + top + 0.5 - y
        along, across = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
        inside = np.abs(along / long) ** corners + np.abs(across / short) ** corners <= 1
        grain = rough[np.ix_((rows + offset[0]) % HEIGHT, (columns + offset[1]) % WIDTH)]
        area[inside] = (grey + shading * along / long + roughness * grain)[inside]
    image = Image.fromarray(scene.clip(0, 255).astype(np.uint8))
    return image.filter(ImageFilter.GaussianBlur(BLUR_PX))
