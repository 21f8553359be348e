"""What this machine is and how it fares: host by psutil, GPUs by NVML."""
