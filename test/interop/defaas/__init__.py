"""
A client and an auditor of DeFaaS, written from docs/protocol.md alone. Numbers in comments are
sections of that page.
"""
