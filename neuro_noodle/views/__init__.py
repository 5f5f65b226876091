"""Views: pictures and tables of runs, the only place that imports matplotlib."""
