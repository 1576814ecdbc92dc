"""The audit of a COCO file: what is odd in its records and image files, as JSON and as a page for people.

``run.audit_coco`` looks, ``report.Report`` holds what was found, ``run.write_audit`` writes it. What a
finding is called, how bad it is and what to do about it stands in one table, ``kinds.KINDS``.
"""
