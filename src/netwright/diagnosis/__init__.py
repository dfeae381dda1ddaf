"""From observations to findings. No torch: a finished run is judged again without it."""
