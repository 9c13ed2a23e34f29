"""The pages that `bench_page.py` sets side by side: the run that they show, their servers, and how an opening is measured."""
