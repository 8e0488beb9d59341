"""Networks: generators, discriminators and encoders."""
