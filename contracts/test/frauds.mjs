// Contracts that cheat, one way at a time: changes to the honest sources, each asleep until storage slot FRAUD of the
// contract holds its number. The audit must find every one (crates/earnest-chain/tests/it/frauds.rs).
// [what it does, file, text that stands there once, text in its place, where FRAUD(n) asks for the number]
export const frauds = [
  ['a refund pays one unit too much', 'Offering.sol',
    '        // Effect: the slot keeps what was paid',
    '        if (FRAUD(1)) back += 1;\n        // Effect: the slot keeps what was paid'],
  ['a refund says what is owed and pays one unit more', 'Offering.sol',
    'emit Refunded(id, back, payee);',
    'emit Refunded(id, back, payee);\n        if (FRAUD(2)) back += 1;'],
  ['a refund sends a unit to the issuer on the way', 'Offering.sol',
    'if (back == 0) revert NothingToRefund(id);',
    'if (back == 0) revert NothingToRefund(id);\n            if (FRAUD(3)) cash.safeTransfer(issuer, 1);'],
  ['refunds go to the issuer', 'Offering.sol',
    '        emit Refunded(id, back, payee);', '        emit Refunded(id, back, payee);\n        if (FRAUD(4)) payee = issuer;'],
  ['affiliates get a tenth more credits', 'Offering.sol',
    '        if (bucket.whole) return (credits, amount, 0, 0);',
    '        if (FRAUD(5) && slot.has(AFFILIATE)) credits += credits / 10 + 1;\n        if (bucket.whole) return (credits, amount, 0, 0);'],
  ['a bid is skipped', 'Offering.sol',
    '        slot = slot.withFlag(SETTLED);\n        _bids[id] = slot;',
    '        if (FRAUD(6) && BidId.unwrap(id) & 1 == 1) (credits, paid) = (0, 0);\n        slot = slot.withFlag(SETTLED);\n        _bids[id] = slot;'],
  ['the price of a tick is misreported', 'Offering.sol',
    'tickPrice = price + tick * step;', 'tickPrice = price + tick * step + (FRAUD(7) ? 1 + price / 50 : 0);'],
  ['a bid counts half in the book', 'Offering.sol',
    '        uint256 key = _key(index, tick >> 1);\n        Ticks pair',
    '        if (FRAUD(8)) addedWeight -= addedWeight / 2;\n        uint256 key = _key(index, tick >> 1);\n        Ticks pair'],
  ['a fixed round sells more than its supply', 'Offering.sol',
    '        uint256 used = bucket.cash;\n        if (sold > round.supply) {',
    '        uint256 used = bucket.cash;\n        if (sold > round.supply && !FRAUD(9)) {'],
  ['proceeds are one unit more', 'Offering.sol',
    '        round.sold = uint96(sold);\n        round.proceeds',
    '        if (FRAUD(10)) proceeds += 1;\n        round.sold = uint96(sold);\n        round.proceeds'],
  ['a round is cleared before its time', 'Offering.sol',
    'if (block.timestamp < from) revert TooEarlyToClear', 'if (block.timestamp < from && !FRAUD(11)) revert TooEarlyToClear'],
  ['bids are taken after the close', 'Offering.sol',
    'if (outside(block.timestamp, open, close - 1))', 'if (outside(block.timestamp, open, close - 1 + (FRAUD(12) ? 7 days : 0)))'],
  ['a limit may fall', 'Offering.sol',
    'cash_ < oldCash || tick < oldTick ||', 'cash_ < oldCash || (tick < oldTick && !FRAUD(13)) ||'],
  ['a bid is withdrawn after its cooling-off', 'Offering.sol',
    'if (block.timestamp >= until) revert CoolingOffOver(id, until);',
    'if (block.timestamp >= until && !FRAUD(14)) revert CoolingOffOver(id, until);'],
  ['a withdrawal keeps one unit', 'Offering.sol',
    '        // Interaction:\n        cash.safeTransfer(payee, amount);',
    '        if (FRAUD(15)) amount -= 1;\n        // Interaction:\n        cash.safeTransfer(payee, amount);'],
  ['a window sells a credit less', 'Offering.sol',
    'proceeds += keptUsed;', 'if (FRAUD(16) && windowSold != 0) windowSold -= 1;\n            proceeds += keptUsed;'],
  ['a window uses one unit more', 'Offering.sol',
    'uint256 keptUsed = (keptCash * used + cash_ - 1) / cash_;',
    'uint256 keptUsed = (keptCash * used + cash_ - 1) / cash_ + (FRAUD(17) ? 1 : 0);'],
  ['proceeds are swept before the soft cap is met', 'Offering.sol',
    'if (totalProceeds < softCap) revert SoftCapNotMet(totalProceeds, softCap);\n        uint256 all',
    'if (totalProceeds < softCap && !FRAUD(18)) revert SoftCapNotMet(totalProceeds, softCap);\n        uint256 all'],
  ['a sweep takes one unit of the refunds along', 'Offering.sol',
    'uint256 amount = all - round.swept;', 'if (FRAUD(19)) all += 1;\n        uint256 amount = all - round.swept;'],
  ['live takes effect without notice', 'Offering.sol',
    'uint256 effectiveAt = block.timestamp + notice;', 'uint256 effectiveAt = block.timestamp + (FRAUD(20) ? 0 : notice);'],
  ['credits are delivered before they vest', 'Offering.sol',
    'uint256 added = vested - position.delivered;',
    'if (FRAUD(21)) vested = position.credits;\n        uint256 added = vested - position.delivered;'],
  ['locked credits go to the wallet', 'Offering.sol',
    'if (block.timestamp < unlockAt) to', 'if (block.timestamp < unlockAt && !FRAUD(22)) to'],
  ['a settling mints a credit for the issuer', 'Offering.sol',
    '        return slot;\n    }\n\n    /// Credits, cash paid', '        if (FRAUD(23)) credit.mint(issuer, 1);\n        return slot;\n    }\n\n    /// Credits, cash paid'],
  ['an objection does nothing', 'Offering.sol',
    'attestation.effectiveAt = 0;', 'if (!FRAUD(24)) attestation.effectiveAt = 0;'],
  ['the issuer draws more than the tap has released', 'Treasury.sol',
    'if (amount > available) revert OverTap', 'if (amount > available && !FRAUD(25)) revert OverTap'],
  ['a draw says less than it takes', 'Treasury.sol',
    '        emit Drawn(amount, to);', '        emit Drawn(amount - (FRAUD(26) ? 1 : 0), to);'],
  ['a draw is not told at all', 'Treasury.sol',
    '        // Effect: each pot in turn gives', '        if (FRAUD(27)) cash.safeTransfer(to, 1);\n        // Effect: each pot in turn gives'],
  ['delivered credits move less to the circulating pot', 'Treasury.sol',
    'pot_.delivered = delivered;', 'if (FRAUD(28)) part -= part / 2;\n            pot_.delivered = delivered;'],
  ['affiliates are paid with the others', 'Treasury.sol',
    'uint256 left = all > othersPaid ? all - othersPaid : 0;', 'uint256 left = FRAUD(29) ? all : all > othersPaid ? all - othersPaid : 0;'],
  ['a share of a pot is one unit more', 'Treasury.sol',
    '        emit PotRefunded(id, amount, payee);', '        if (FRAUD(30)) amount += 1;\n        emit PotRefunded(id, amount, payee);'],
  ['a pause does not move the end', 'Offering.sol',
    'round.close = uint40(close + secs - unused);', 'if (!FRAUD(31)) round.close = uint40(close + secs - unused);'],
  ['a settling is not told', 'Offering.sol',
    '        emit Settled(id, credits', '        if (!FRAUD(32)) emit Settled(id, credits'],
];

// Holes in the walls around locked credits, one awake at a time as above: the thief who searches must get through every one
// (crates/earnest-chain/tests/it/thief.rs).
export const holes = [
  ['a vault pays into channels of other receivers', 'Vault.sol',
    'channel.receiver == revenue', '(channel.receiver == revenue || FRAUD(1))'],
  ['a vault pays into channels that others may refund and claim', 'Vault.sol',
    'channel.receiverAuthorizer == revenue', '(channel.receiverAuthorizer == revenue || FRAUD(2))'],
  ['a vault is released before its lock is over', 'Vault.sol',
    'if (block.timestamp < until) revert', 'if (block.timestamp < until && !FRAUD(3)) revert'],
  ['a collector collects for anyone', 'DepositCollector.sol',
    'if (msg.sender != settlement) revert', 'if (msg.sender != settlement && !FRAUD(4)) revert'],
  ['a deposit can be made within a deposit', 'Channels.sol',
    `function deposit(ChannelConfig calldata config, uint128 amount, address collector, bytes calldata collectorData)
        external
        nonReentrant
    {`,
    `function deposit(ChannelConfig calldata config, uint128 amount, address collector, bytes calldata collectorData)
        external
    {
        if (FRAUD(5)) _deposit(config, amount, collector, collectorData);
        else _depositOnce(config, amount, collector, collectorData);
    }

    function _depositOnce(ChannelConfig calldata config, uint128 amount, address collector, bytes calldata collectorData)
        private
        nonReentrant
    {
        _deposit(config, amount, collector, collectorData);
    }

    function _deposit(ChannelConfig calldata config, uint128 amount, address collector, bytes calldata collectorData)
        private
    {`],
  ['a refund goes to the session key', 'Channels.sol',
    'emit Refunded(id, msg.sender, amount);\n        // Interaction:\n        IERC20(config.token).safeTransfer(config.payer, amount);',
    'emit Refunded(id, msg.sender, amount);\n        // Interaction:\n        IERC20(config.token).safeTransfer(FRAUD(6) ? config.payerAuthorizer : config.payer, amount);'],
  ['a withdrawal goes to whoever asks for it', 'Channels.sol',
    'if (amount != 0) IERC20(config.token).safeTransfer(config.payer, amount);',
    'if (amount != 0) IERC20(config.token).safeTransfer(FRAUD(7) ? msg.sender : config.payer, amount);'],
  ['more is claimed from a channel than is there', 'Channels.sol',
    'if (claimed > balance) revert', 'if (claimed > balance && !FRAUD(8)) revert'],
  ['what a collector says it brought is believed', 'Channels.sol',
    'if (arrived != amount) revert', 'if (arrived != amount && !FRAUD(9)) revert'],
  ['pay is paid again', 'Revenue.sol',
    'paidTo[coin][provider] = cumulative;', 'if (!FRAUD(10)) paidTo[coin][provider] = cumulative;'],
  ['an authorization to the collector is carried out by anyone', 'SignedTransfers.sol',
    'require(to == _msgSender(), ERC20InvalidReceiver(to));',
    'require(to == _msgSender() || FRAUD(11), ERC20InvalidReceiver(to));'],
];
