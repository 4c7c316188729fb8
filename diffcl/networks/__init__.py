"""The networks: V-Net, CS with HF-Mamba, DS with time embedding, projection heads."""
