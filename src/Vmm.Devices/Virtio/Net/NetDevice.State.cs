namespace Vmm.Devices;

// A network card in another process: what its driver asked for by commands, and the frames that wait in the card. Frames in flight to it
// are lost, as on any cable.
public sealed partial class NetDevice
{
    /// <summary>Most frames that wait, in all: those of a stream that were read at once, each as short as there is one.</summary>
    private const int SavedFramesMax = 32768;

    /// <inheritdoc/>
    protected internal override void Save(StateWriter to)
    {
        ArgumentNullException.ThrowIfNull(to);
        to.Add("address", Address.ToString());
        to.Add("mtu", (long)(_spec.Mtu ?? 0));
        to.Add("link-up", _isLinkUp);
        if (Driver is null) return;
        StateWriter driver = to.AddRecord("driver");
        driver.Add("active-pairs", (long)_activePairs);
        driver.Add("guest-offloads", _guestOffloads);
        _filter.Save(driver.AddRecord("filter"));
        for (int pair = 0; pair < _pairs; pair++)
        {
            foreach (byte[] bytes in _receivers[pair]?.Kept ?? [])
            {
                StateWriter frame = driver.AddItem("frames");
                frame.Add("pair", (long)pair);
                frame.Add("bytes", bytes);
            }
        }
    }

    /// <inheritdoc/>
    /// <remarks>
    /// A card that was given an address keeps it, and shows it to the next driver; the one it has goes on with the address it knows, until
    /// it asks.
    /// </remarks>
    protected internal override void Restore(StateReader from)
    {
        ArgumentNullException.ThrowIfNull(from);
        MacAddress address = NetFilter.AddressOf(from, "address");
        if (from.Int32("mtu", 0, ushort.MaxValue) is var mtu && mtu != (_spec.Mtu ?? 0))
            throw from.Wrong("mtu", $"is {mtu}, and '{Name}' has {_spec.Mtu ?? 0}: give it the one it had");
        if (_spec.Mac is null) Address = address;
        if (from.Boolean("link-up") is var isUp && isUp != _isLinkUp) IsLinkUp = isUp;
        MacAddress shown = Address;
        if (Driver is { } session)
        {
            StateReader driver = from.Record("driver");
            int pairs = driver.Int32("active-pairs", 1, _pairs);
            ulong offloads = driver.UInt64("guest-offloads");
            if ((offloads & ~(session.Features & NetProtocol.GuestOffloads)) != 0)
                throw driver.Wrong("guest-offloads", $"are 0x{offloads:x}, and not all of them were negotiated");
            _filter = NetFilter.Restore(driver.Record("filter"));
            // The driver may have taken another one than the card's.
            if (_filter.Address != address) shown = _filter.Address;
            SetOffloads(offloads);
            SetActivePairs(pairs);
            int least = NetProtocol.HeaderLength(session.Features) + NetProtocol.EthernetHeaderLength;
            foreach (StateReader frame in driver.Items("frames", SavedFramesMax))
            {
                byte[] saved = frame.Bytes("bytes", NetProtocol.FrameBytesMax);
                if (saved.Length < least) throw frame.Wrong("bytes", $"has {saved.Length}, fewer than {least}");
                (_savedFrames[frame.Int32("pair", 0, _pairs - 1)] ??= []).Enqueue(saved);
            }
            // It may be behind another port of a switch now.
            if (Has(NetProtocol.FeatureGuestAnnounce)) Announce();
        }
        Span<byte> bytes = stackalloc byte[MacAddress.Length];
        shown.CopyTo(bytes);
        Config.Update(NetProtocol.ConfigMac, bytes);
    }

    /// <summary>The frames that the card of another process kept for a queue, once.</summary>
    internal Queue<byte[]> TakeSavedFrames(int pair)
    {
        Queue<byte[]> frames = _savedFrames[pair] ?? [];
        _savedFrames[pair] = null;
        return frames;
    }
}
