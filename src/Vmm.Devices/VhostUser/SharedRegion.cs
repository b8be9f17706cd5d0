namespace Vmm.Devices.VhostUser;

/// <summary>A region as a message describes it (vhost-user, "Memory region description").</summary>
/// <param name="GuestAddress">Guest-physical address of its first byte.</param>
/// <param name="Length">Bytes.</param>
/// <param name="FileOffset">Offset of its first byte in the file.</param>
/// <param name="UserAddress">The front-end's own address of its first byte: rings are named by such addresses.</param>
internal readonly record struct RegionDescription(ulong GuestAddress, ulong Length, ulong FileOffset = 0, ulong UserAddress = 0)
{
    internal RegionLayout Layout => new(GuestAddress, Length, FileOffset);

    internal bool WrapsInFrontEnd => UserAddress + Length - 1 < UserAddress;
}

/// <summary>A region that a front-end shared, mapped here.</summary>
internal readonly record struct SharedRegion(GuestRegion Region, ulong UserAddress)
{
    internal RegionDescription Description => new(Region.GuestAddress, Region.Length, Region.Layout.FileOffset, UserAddress);

    internal bool Contains(ulong userAddress) => userAddress - UserAddress < Region.Length;

    internal bool Overlaps(in RegionDescription other) =>
        Contains(other.UserAddress) || UserAddress - other.UserAddress < other.Length;
}
