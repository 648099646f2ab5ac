// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Schedule} from "./units/Schedule.sol";

/// The schedules a plan offers, at most sixteen. They stand in the code: a delivery would pay 2,100 gas to read one
/// from storage, and immutables have no index, hence the tree.
abstract contract Schedules {
    Schedule private immutable _schedule0;
    Schedule private immutable _schedule1;
    Schedule private immutable _schedule2;
    Schedule private immutable _schedule3;
    Schedule private immutable _schedule4;
    Schedule private immutable _schedule5;
    Schedule private immutable _schedule6;
    Schedule private immutable _schedule7;
    Schedule private immutable _schedule8;
    Schedule private immutable _schedule9;
    Schedule private immutable _schedule10;
    Schedule private immutable _schedule11;
    Schedule private immutable _schedule12;
    Schedule private immutable _schedule13;
    Schedule private immutable _schedule14;
    Schedule private immutable _schedule15;

    constructor(Schedule[] memory schedules) {
        _schedule0 = _at(schedules, 0);
        _schedule1 = _at(schedules, 1);
        _schedule2 = _at(schedules, 2);
        _schedule3 = _at(schedules, 3);
        _schedule4 = _at(schedules, 4);
        _schedule5 = _at(schedules, 5);
        _schedule6 = _at(schedules, 6);
        _schedule7 = _at(schedules, 7);
        _schedule8 = _at(schedules, 8);
        _schedule9 = _at(schedules, 9);
        _schedule10 = _at(schedules, 10);
        _schedule11 = _at(schedules, 11);
        _schedule12 = _at(schedules, 12);
        _schedule13 = _at(schedules, 13);
        _schedule14 = _at(schedules, 14);
        _schedule15 = _at(schedules, 15);
    }

    function _schedule(uint256 i) internal view returns (Schedule) {
        if (i < 8) {
            if (i < 4) {
                if (i < 2) {
                    return i == 0 ? _schedule0 : _schedule1;
                }
                return i == 2 ? _schedule2 : _schedule3;
            }
            if (i < 6) {
                return i == 4 ? _schedule4 : _schedule5;
            }
            return i == 6 ? _schedule6 : _schedule7;
        }
        if (i < 12) {
            if (i < 10) {
                return i == 8 ? _schedule8 : _schedule9;
            }
            return i == 10 ? _schedule10 : _schedule11;
        }
        if (i < 14) {
            return i == 12 ? _schedule12 : _schedule13;
        }
        return i == 14 ? _schedule14 : _schedule15;
    }

    function _at(Schedule[] memory schedules, uint256 i) private pure returns (Schedule) {
        return i < schedules.length ? schedules[i] : Schedule.wrap(0);
    }
}
