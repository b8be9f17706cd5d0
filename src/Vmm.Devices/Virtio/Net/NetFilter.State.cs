using System.Buffers.Binary;

namespace Vmm.Devices;

// The filter in another process.
internal sealed partial record NetFilter
{
    private const int AddressTextMax = 17;
    private const int VlanBytes = NetProtocol.VlanCount / 8;

    internal void Save(StateWriter to)
    {
        to.Add("address", Address.ToString());
        to.Add("promiscuous", IsPromiscuous);
        to.Add("all-multicast", AllMulticast);
        to.Add("all-unicast", AllUnicast);
        to.Add("no-multicast", NoMulticast);
        to.Add("no-unicast", NoUnicast);
        to.Add("no-broadcast", NoBroadcast);
        // What is not there means any.
        if (Unicast is not null) to.Add("unicast", BytesOf(Unicast));
        if (Multicast is not null) to.Add("multicast", BytesOf(Multicast));
        if (Vlans is null) return;
        byte[] vlans = new byte[VlanBytes];
        for (int i = 0; i < Vlans.Length; i++) BinaryPrimitives.WriteUInt64LittleEndian(vlans.AsSpan(i * sizeof(ulong)), Vlans[i]);
        to.Add("vlans", vlans);
    }

    internal static NetFilter Restore(StateReader from) => new()
    {
        Address = AddressOf(from, "address"),
        IsPromiscuous = from.Boolean("promiscuous"),
        AllMulticast = from.Boolean("all-multicast"),
        AllUnicast = from.Boolean("all-unicast"),
        NoMulticast = from.Boolean("no-multicast"),
        NoUnicast = from.Boolean("no-unicast"),
        NoBroadcast = from.Boolean("no-broadcast"),
        Unicast = Table(from, "unicast"),
        Multicast = Table(from, "multicast"),
        Vlans = VlansOf(from, "vlans"),
    };

    /// <summary>Reads one address.</summary>
    internal static MacAddress AddressOf(StateReader from, string name) =>
        MacAddress.TryParse(from.Text(name, AddressTextMax), out MacAddress address)
            ? address
            : throw from.Wrong(name, "is not an address such as 02:00:5e:10:00:01");

    private static byte[] BytesOf(MacAddress[] addresses)
    {
        byte[] bytes = new byte[addresses.Length * MacAddress.Length];
        for (int i = 0; i < addresses.Length; i++) addresses[i].CopyTo(bytes.AsSpan(i * MacAddress.Length));
        return bytes;
    }

    private static MacAddress[]? Table(StateReader from, string name)
    {
        if (!from.Has(name)) return null;
        byte[] bytes = from.Bytes(name, AddressesMax * MacAddress.Length);
        if (bytes.Length % MacAddress.Length != 0) throw from.Wrong(name, "ends in the middle of an address");
        return [.. bytes.Chunk(MacAddress.Length).Select(each => new MacAddress(each))];
    }

    private static ulong[]? VlansOf(StateReader from, string name)
    {
        if (!from.Has(name)) return null;
        byte[] bytes = from.Bytes(name, VlanBytes);
        if (bytes.Length != VlanBytes) throw from.Wrong(name, $"has {bytes.Length} bytes, not {VlanBytes}");
        return [.. bytes.Chunk(sizeof(ulong)).Select(each => BinaryPrimitives.ReadUInt64LittleEndian(each))];
    }
}
