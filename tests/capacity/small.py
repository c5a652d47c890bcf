"""A server whose times are round numbers."""

from __future__ import annotations

from sifigan_triton.capacity.service_times import ServiceTimes

CPU = ServiceTimes(
    {512: 0.100, 256: 0.050, 128: 0.030, 64: 0.020},
    halo=216,
    around_s=0.002,
    around_frame_s=1e-6,
    frame_s=0.005,
    longest=65536,
)
