"""hivebox.run and what stands behind it, against the kernel: tests call it as programs do."""
