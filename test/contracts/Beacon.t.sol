// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Beacon} from "../../contracts/Beacon.sol";
import {IBeacon} from "../../contracts/interfaces/IBeacon.sol";
import {Test} from "./Vm.sol";

/// @dev As EIP-2935, but a block's hash is its number, and it reverts with a word that could be
///   taken for a hash.
contract History {
    fallback() external {
        uint256 height = uint256(bytes32(msg.data));
        bool isKnown = block.number - height <= 8_191;
        assembly {
            mstore(0, height)
            if isKnown {
                return(0, 0x20)
            }
            revert(0, 0x20)
        }
    }
}

contract BeaconTest is Test {
    address internal constant HISTORY = 0x0000F90827F1C53a10cb7A02335B175320002935;
    Beacon internal beacon;

    function setUp() public {
        vm.roll(1000);
        vm.warp(5000);
        beacon = new Beacon(32);
    }

    function testFuzz_RecordsTheHashOfTheExactHeight(uint256 epoch) public {
        epoch = bound(epoch, 24, 31);
        uint192 expected = uint192(
            uint256(keccak256(abi.encode(block.chainid, uint64(epoch), blockhash(epoch * 32))))
        );

        vm.expectEmit(true, false, false, true, address(beacon));
        emit IBeacon.Checkpointed(uint64(epoch), expected);
        uint192 value = beacon.checkpoint(uint64(epoch));

        eq(value, expected, "value");
        eq(beacon.epochOf(uint64(epoch)).value, expected, "stored value");
        eq(beacon.epochOf(uint64(epoch)).time, 5000, "time");
    }

    function test_OnceOnly() public {
        beacon.checkpoint(30);
        vm.expectRevert(abi.encodeWithSelector(IBeacon.Known.selector, 30));
        beacon.checkpoint(30);
    }

    function test_NotBeforeItsBlockIsBehind() public {
        vm.roll(1024);
        vm.expectRevert(abi.encodeWithSelector(IBeacon.NotYet.selector, 1024));
        beacon.checkpoint(32);
        vm.roll(1025);
        beacon.checkpoint(32);
    }

    function test_NotWithoutItsBlockHash() public {
        vm.etch(HISTORY, "");
        vm.roll(32 + 256);
        beacon.checkpoint(1);
        vm.roll(64 + 257);
        vm.expectRevert(abi.encodeWithSelector(IBeacon.TooLate.selector, 64));
        beacon.checkpoint(2);
    }

    function test_OlderBlocksByTheHistoryContract() public {
        vm.etch(HISTORY, type(History).runtimeCode);
        vm.roll(64 + 8_191);
        uint192 expected = uint192(uint256(keccak256(abi.encode(block.chainid, uint64(2), bytes32(uint256(64))))));
        eq(beacon.checkpoint(2), expected, "value");
        // It reverts with data beyond its window: that is no hash.
        vm.expectRevert(abi.encodeWithSelector(IBeacon.TooLate.selector, 32));
        beacon.checkpoint(1);
    }

    function test_TheOpcodeEndsWhereTheHistoryBegins() public {
        vm.etch(HISTORY, type(History).runtimeCode);
        vm.roll(64 + 257);
        uint192 expected = uint192(uint256(keccak256(abi.encode(block.chainid, uint64(2), bytes32(uint256(64))))));
        eq(beacon.checkpoint(2), expected, "257 blocks back");
    }

    function test_NextEpochHasNoBlockYet() public {
        eq(beacon.nextEpoch(), 32, "32 x 32 = 1024 > 1000");
        vm.roll(1024);
        eq(beacon.nextEpoch(), 33, "at the height itself");
    }

    function test_KIsBounded() public {
        vm.expectRevert(abi.encodeWithSelector(IBeacon.InvalidK.selector, 0));
        new Beacon(0);
        vm.expectRevert(abi.encodeWithSelector(IBeacon.InvalidK.selector, 257));
        new Beacon(257);
        eq(new Beacon(256).K(), 256, "greatest");
    }
}
