"""Scripts of under 60 lines that use the stable names of `synflow` only; see README.md."""
