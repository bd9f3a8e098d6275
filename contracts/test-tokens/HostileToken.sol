// SPDX-License-Identifier: Apache-2.0
// A token for tests that misbehaves in one chosen way.
pragma solidity 0.8.37;

/// @title HostileToken
contract HostileToken {
    enum Behaviour {
        Plain,
        /// Takes 1 % of each transfer.
        Fee,
        /// Returns false and moves nothing.
        ReturnsFalse,
        /// Returns no data, as USDT does.
        ReturnsNothing,
        /// Refuses transfers to a frozen account.
        Blacklist,
        /// Calls back while it transfers.
        Reentrant
    }

    uint8 public constant decimals = 6;
    Behaviour public behaviour;
    address public frozen;
    address public target;
    bytes public callback;
    /// What the callback reverted with, or nothing.
    bytes public callbackError;
    mapping(address => uint256) public balanceOf;
    mapping(address => mapping(address => uint256)) public allowance;

    function behave(Behaviour to) external {
        behaviour = to;
    }

    function freeze(address account) external {
        frozen = account;
    }

    /// @notice What to call during each transfer under `Reentrant`.
    function onTransfer(address to, bytes calldata data) external {
        (target, callback) = (to, data);
    }

    function mint(address to, uint256 amount) external {
        balanceOf[to] += amount;
    }

    function approve(address spender, uint256 amount) external returns (bool) {
        allowance[msg.sender][spender] = amount;
        return true;
    }

    function transfer(address to, uint256 amount) external returns (bool) {
        return _move(msg.sender, to, amount);
    }

    function transferFrom(address from, address to, uint256 amount) external returns (bool) {
        allowance[from][msg.sender] -= amount;
        return _move(from, to, amount);
    }

    function _move(address from, address to, uint256 amount) private returns (bool) {
        if (behaviour == Behaviour.ReturnsFalse) return false;
        require(behaviour != Behaviour.Blacklist || to != frozen, "frozen");
        if (behaviour == Behaviour.Reentrant) {
            (bool ok, bytes memory answer) = target.call(callback);
            callbackError = ok ? bytes("") : answer;
        }
        balanceOf[from] -= amount;
        balanceOf[to] += behaviour == Behaviour.Fee ? amount - amount / 100 : amount;
        if (behaviour == Behaviour.ReturnsNothing) {
            assembly {
                return(0, 0)
            }
        }
        return true;
    }
}
